"""What a function may be called with is read from whatever there is to read."""

from functools import partial, wraps

import pytest
import torch
from torch import nn

from lehr.base.signatures import signature_of


class Two(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor):
        return x * mask


class Many(nn.Module):
    def forward(self, x, /, y, *rest, scale, **others):
        return x


def test_a_module_is_asked_for_its_forward():
    assert signature_of(Two()).required == ("x", "mask")
    assert signature_of(nn.MSELoss()).places == ("input", "target")


def test_every_kind_of_parameter_is_told_from_the_others():
    takes = signature_of(Many())
    assert (takes.required, takes.named) == (("x", "y"), ("y", "scale"))
    assert (takes.any_places, takes.any_names) == (True, True)
    assert takes.text == "(x, /, y, *rest, scale, **others)"
    plain = signature_of(lambda a, b=3: a)
    assert (plain.required, plain.optional, plain.defaults) == (("a",), ("b",), (3,))
    assert (plain.any_places, plain.any_names) == (False, False)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["script", "trace"])
def test_what_torch_has_compiled_is_asked_for_its_schema(kind):
    if kind == "script":
        model = torch.jit.script(Two())
    else:
        model = torch.jit.trace(Two(), (torch.zeros(2), torch.zeros(2)))
    assert signature_of(model).places == ("x", "mask")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_function_has_defaults_too():
    @torch.jit.script
    def loss(pred: torch.Tensor, yb: torch.Tensor, scale: float = 2.0):
        return ((pred - yb) ** 2).mean() * scale

    takes = signature_of(loss)
    assert (takes.required, takes.optional, takes.defaults) == (("pred", "yb"), ("scale",), (2.0,))
    assert takes.text == "(pred, yb, scale)"


def test_a_partial_and_a_wrapped_function_are_seen_through():
    def loss(pred, yb, beta):
        return pred

    @wraps(loss)
    def around(*args, **kwargs):
        return loss(*args, **kwargs)

    assert signature_of(partial(loss, beta=1)).required == ("pred", "yb")
    assert signature_of(around).required == ("pred", "yb", "beta")


def test_what_does_not_tell_may_be_called_with_anything():
    takes = signature_of(torch.dist)
    assert (takes.required, takes.any_places, takes.any_names) == ((), True, True)


def test_what_may_be_called_with_so_many_arguments():
    def own(pred, target): ...

    assert signature_of(own).takes(2)
    assert not signature_of(own).takes(1)
    assert not signature_of(own).takes(3)
    assert signature_of(torch.add).takes(2)  # has no signature
    assert signature_of(lambda *args: 0).takes(7)
    assert signature_of(lambda pred, target, scale=1: 0).takes(2)
    assert not signature_of(lambda pred, target, *, scale: 0).takes(2)
    assert signature_of(lambda pred, target, *, scale=1: 0).takes(2)
    assert signature_of(partial(lambda pred, target, scale: 0, scale=1)).takes(2)
    assert signature_of(torch.nn.MSELoss()).takes(2)
    assert not signature_of(torch.nn.Linear(1, 1)).takes(2)

"""Hooks see every layer while a fit lasts, and come off however it ends."""

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import Hooks
from lehr.testing import tiny_learner


def hooks_left(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_forward_and_backward_are_called_for_every_layer_of_every_batch():
    seen = {"forward": [], "backward": []}
    hooks = Hooks(
        lambda name, layer, output: seen["forward"].append((name, type(layer), output.shape)),
        lambda name, layer, gradient: seen["backward"].append((name, gradient.shape)),
    )
    learn = tiny_learner(rehearsal=False)
    learn.fit(1, callbacks=[hooks])
    layers = [("0", nn.Linear, (8, 4)), ("1", nn.ReLU, (8, 4)), ("2", nn.Linear, (8, 2))]
    assert seen["forward"][:3] == layers
    assert len(seen["forward"]) == 3 * (4 + 1)  # the validation's batch is one of 16
    assert seen["backward"][:3] == [("2", (8, 2)), ("1", (8, 4)), ("0", (8, 4))]
    assert len(seen["backward"]) == 3 * 4


def test_what_a_function_returns_takes_the_place_of_the_output():
    learn = tiny_learner()
    x = torch.ones(2, 3)
    with Hooks(lambda name, layer, output: output * 0, layers=["2"]).on(learn.model):
        assert torch.equal(learn.model(x), torch.zeros(2, 2))
    assert not torch.equal(learn.model(x), torch.zeros(2, 2))


def test_gradients_can_be_replaced_on_the_way_back():
    learn = tiny_learner(rehearsal=False)
    before = [p.clone() for p in learn.model.parameters()]
    stop = Hooks(backward=lambda name, layer, gradient: gradient * 0, layers=["1"])
    learn.fit(1, callbacks=[stop])
    moved = [not torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True)]
    assert moved == [False, False, True, True]


def test_every_output_of_a_layer_has_its_gradient():
    class Two(nn.Module):
        def forward(self, x):
            return {"a": x * 2, "b": [x * 3, 7]}

    seen = []
    x = torch.ones(2, requires_grad=True)
    layer = nn.Sequential(Two())
    with Hooks(backward=lambda name, layer, gradient: seen.append(gradient[0].item())).on(layer):
        out = layer(x)
        (out["a"].sum() + 5 * out["b"][0].sum()).backward()
    assert sorted(seen) == [1.0, 5.0]


@pytest.mark.parametrize("moment", ["begin_fit", "after_pred", "after_validate"])
def test_the_hooks_come_off_however_the_fit_ends(moment):
    class Fail(Callback):
        state = ()

    def fail(self, run):
        assert hooks_left(run.model) == 3
        raise ZeroDivisionError

    setattr(Fail, moment, fail)
    learn = tiny_learner(rehearsal=False)
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, callbacks=[Hooks(lambda *_: None), Fail()])
    assert hooks_left(learn.model) == 0


def test_a_scope_ends_with_its_error():
    model = nn.Linear(1, 1)
    with pytest.raises(ZeroDivisionError), Hooks(lambda *_: None).on(model):
        assert hooks_left(model) == 1
        raise ZeroDivisionError
    assert hooks_left(model) == 0


def test_without_a_function_or_with_one_name_it_is_refused():
    with pytest.raises(TypeError, match="Hooks needs a function to call; got forward=None"):
        Hooks()
    with pytest.raises(TypeError, match=r"must be a list of names; got '0'. Write \['0'\]"):
        Hooks(print, layers="0")
    with pytest.raises(ValueError, match="layers names '7', which is no module of Sequential"):
        tiny_learner().fit(1, callbacks=[Hooks(print, layers=["7"])])

"""A model is as it was before it was looked at."""

import pytest
import torch
from torch import nn

from lehr.state.differences import first_difference
from lehr.state.looked_at import keep_for_a_look


def spoilt(model):
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(1)
    model.eval()
    model.extra = 3


def test_buffers_and_trained_parameters_are_put_back():
    model = nn.BatchNorm1d(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    put_back = keep_for_a_look(model)
    spoilt(model)
    assert first_difference(before, dict(model.state_dict()))  # the control
    put_back()
    assert first_difference(before, dict(model.state_dict())) is None
    assert model.training
    assert not hasattr(model, "extra")


def test_frozen_parameters_are_held_but_not_copied():
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    weight, before = model.weight, model.weight.clone()
    put_back = keep_for_a_look(model)
    spoilt(model)
    put_back()
    assert model.weight is weight
    assert torch.equal(model.weight, before + 1)


def test_a_lazy_part_is_lazy_again():
    model = nn.Sequential(nn.LazyLinear(2))
    put_back = keep_for_a_look(model)
    model(torch.zeros(1, 3))
    put_back()
    assert isinstance(model[0], nn.LazyLinear)


def test_something_with_a_modules_methods_is_put_back_as_well():
    inner = nn.Linear(2, 2)

    class Like:
        def __getattr__(self, name):
            return getattr(inner, name)

    before = inner.weight.clone()
    put_back = keep_for_a_look(Like())
    spoilt(inner)
    put_back()
    assert torch.equal(inner.weight, before)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_module_is_put_back_as_well():
    model = torch.jit.script(nn.BatchNorm1d(2))
    put_back = keep_for_a_look(model)
    with torch.no_grad():
        model.running_mean.add_(1)
    put_back()
    assert model.running_mean.tolist() == [0.0, 0.0]

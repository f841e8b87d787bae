"""A module is made again what it was, in the same objects and the same memory."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lehr.state.differences import first_difference
from lehr.state.structure import keep_structure


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_values_come_back_in_the_same_tensors():
    model = nn.Linear(2, 2)
    before, weight, memory = state(model), model.weight, model.weight.data_ptr()
    put_back = keep_structure(model)
    nn.init.zeros_(model.weight)
    model.weight.data = torch.ones(3)
    model.bias = nn.Parameter(torch.ones(2))
    assert first_difference(before, state(model))
    put_back()
    assert first_difference(before, state(model)) is None
    assert model.weight is weight
    assert weight.data_ptr() == memory


def test_what_is_not_copied_keeps_its_values_and_gets_its_memory_back():
    model = nn.BatchNorm1d(2)
    put_back = keep_structure(model, copied=model.buffers())
    memory = model.weight.data_ptr()
    with torch.no_grad():
        model.weight.fill_(3)
        model.running_mean.fill_(3)
    model.double()
    put_back()
    assert model.weight.tolist() == [3, 3]
    assert (model.weight.dtype, model.weight.data_ptr()) == (torch.float32, memory)
    assert model.running_mean.tolist() == [0, 0]
    assert model.running_mean.dtype == torch.float32


def test_attributes_and_hooks_and_parts_come_back():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    kept = model.register_forward_hook(lambda *args: None)
    first, second = model
    put_back = keep_structure(model)
    kept.remove()
    model.register_forward_pre_hook(lambda *args: None)
    model.note, model[0].in_features = "new", 7
    model.append(nn.ReLU())
    model[1] = nn.Tanh()
    put_back()
    assert [*model] == [first, second]
    assert (len(model._forward_hooks), len(model._forward_pre_hooks)) == (1, 0)
    assert first.in_features == 1
    assert not hasattr(model, "note")
    kept.remove()
    assert not model._forward_hooks


def test_a_lazy_part_that_was_made_is_lazy_again_and_can_be_made_anew():
    model = nn.Sequential(nn.LazyConv2d(2, 1), nn.LazyBatchNorm2d())
    weight = model[0].weight
    put_back = keep_structure(model)
    model(torch.ones(1, 3, 4, 4)).sum().backward()
    assert type(model[0]) is nn.Conv2d
    put_back()
    assert (type(model[0]), type(model[1])) == (nn.LazyConv2d, nn.LazyBatchNorm2d)
    assert model[0].weight is weight
    assert nn.parameter.is_lazy(weight)
    assert nn.parameter.is_lazy(model[1].running_mean)
    assert weight.grad is None
    assert model(torch.ones(1, 5, 4, 4)).shape == (1, 2, 4, 4)


def test_a_parametrization_is_taken_off_and_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    before = state(model)
    put_back = keep_structure(model)
    parametrizations.weight_norm(model[0])
    nn.init.zeros_(model[1].weight)
    put_back()
    assert first_difference(before, state(model)) is None
    assert model[1].weight is model[0].weight
    assert type(model[0]) is nn.Linear


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    number = torch.ones(1)
    model[0].register_buffer("many", number.expand(3))
    before = state(model)
    put_back = keep_structure(model)
    nn.init.zeros_(model[1].weight)
    put_back()
    assert first_difference(before, state(model)) is None
    nn.init.zeros_(model[1].weight)
    number.fill_(2)  # none of the module's tensors
    with pytest.raises(RuntimeError, match=r"^0\.many \(RuntimeError\('unsupported operation"):
        put_back()
    assert first_difference(before, state(model)) == "0.many: 3 of 3 values differ, by up to 1"

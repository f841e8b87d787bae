"""A model is as it was before it was looked at."""

import pytest
import torch
from torch import nn

from lehr.state.differences import first_difference
from lehr.state.looked_at import buffers_kept, keep_for_a_look


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


@pytest.mark.parametrize(
    "buffer",
    [
        *[torch.tensor(float("nan")), torch.zeros(0), torch.tensor([True]), torch.ones(2, 3).t()],
        *[torch.ones(2, dtype=torch.cfloat).conj(), torch.ones(3).bfloat16()],
        torch.eye(2).to_sparse(),
    ],
)
def test_buffers_of_any_kind_are_kept(buffer):
    model = nn.Module()
    model.register_buffer("b", buffer)
    saved = buffer.clone()
    with buffers_kept(model):
        version = buffer._version
    assert buffer._version == version  # nothing is written where nothing has changed
    with buffers_kept(model):
        model.b = torch.zeros(7, dtype=buffer.dtype)
    assert model.b is buffer
    assert first_difference(saved, buffer) is None


def test_a_buffer_that_was_resized_or_written_to_has_its_values_again():
    model = nn.BatchNorm1d(2)
    mean = model.running_mean
    with buffers_kept(model, model, None):
        mean.resize_(5).fill_(3)
    assert model.running_mean is mean
    assert mean.tolist() == [0.0, 0.0]
    with pytest.raises(KeyError), buffers_kept(model):
        mean.add_(1)
        raise KeyError
    assert mean.tolist() == [0.0, 0.0]


def test_a_model_that_was_cast_stays_so():
    model = nn.BatchNorm1d(2)
    with buffers_kept(model):
        model.double()
        model.running_mean.add_(3)
        other = model.running_var
    assert model.running_mean.dtype == torch.float64
    assert model.running_mean.tolist() == [0.0, 0.0]
    assert model.running_var is other
    with buffers_kept(model):
        model.num_batches_tracked = model.num_batches_tracked + 0.5  # not by a cast
    assert model.num_batches_tracked.dtype == torch.int64


def test_what_is_lazy_is_made_and_what_is_new_stays():
    model = nn.Sequential(nn.LazyBatchNorm1d(), nn.Identity())
    with buffers_kept(model):
        model.eval()(torch.ones(2, 3))
        model[1].register_buffer("new", torch.ones(1))
    assert type(model[0]) is nn.BatchNorm1d
    assert model[0].running_mean.shape == (3,)
    assert model[0].num_features == 3
    assert model[1].new.item() == 1


def test_plain_attributes_come_back_with_a_buffer_and_stay_without():
    model = nn.BatchNorm1d(2)
    model.size, model.maps = 3, [1]
    with buffers_kept(model):
        model.size = 4
    assert model.size == 4
    with buffers_kept(model):
        model.size, model.running_mean = 5, torch.ones(5)
        model.maps.append(2)
    assert (model.size, model.maps) == (4, [1, 2])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_buffers_of_a_script_module_are_kept():
    model = torch.jit.script(nn.BatchNorm1d(2))
    with buffers_kept(model), torch.no_grad():
        model.running_mean.add_(1)
    assert model.running_mean.tolist() == [0.0, 0.0]

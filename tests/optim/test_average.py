"""Averages of a model's tensors over time."""

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lehr.optim.average import Average


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def fill(net, value):
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.fill_(value)


def test_it_begins_as_the_model_and_moves_by_the_share():
    net = model()
    fill(net, 1)
    average = Average(net)
    fill(net, 3)
    average.add(net, 0.25)
    assert average.tensors["0.weight"].eq(1.5).all()
    assert average.tensors["1.running_mean"].eq(1.5).all()
    assert average.count == 1


def test_what_is_no_real_number_is_that_of_the_model():
    net = model()
    average = Average(net)
    net[1].num_batches_tracked.fill_(7)
    average.add(net, 0.1)
    assert average.tensors["1.num_batches_tracked"] == 7


def test_half_precision_is_averaged_in_single():
    net = nn.Linear(1, 1, bias=False).bfloat16()
    fill(net, 1)
    average = Average(net)
    fill(net, 2)
    for _ in range(3):
        average.add(net, 1e-4)  # too little for bfloat16 to notice
    assert average.tensors["weight"].dtype == torch.float32
    assert average.tensors["weight"].item() == pytest.approx(1 + 3e-4, abs=1e-6)
    average.copy_to(net)
    assert net.weight.dtype == torch.bfloat16


def test_the_scope_lends_the_averages_and_gives_the_model_its_own_back():
    net = model()
    average = Average(net)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    fill(net, 3)
    with pytest.raises(ZeroDivisionError), average.used_by(net):
        assert all(torch.equal(v, start[k]) for k, v in net.state_dict().items())
        raise ZeroDivisionError
    assert all(v.eq(3).all() for v in net.state_dict().values())


def test_wrapped_models_have_the_names_of_the_bare_one():
    net = model()
    wrapped = nn.DataParallel(net)
    assert Average(wrapped).tensors.keys() == dict(net.state_dict()).keys()
    assert Average(net, buffers=False).tensors.keys() == dict(net.named_parameters()).keys()


def test_its_state_is_loaded_in_place_and_that_of_another_model_refused():
    net = model()
    average, other = Average(net), Average(net)
    fill(net, 2)
    average.add(net, 0.5)
    kept = other.tensors["0.weight"]
    other.load_state_dict(average.state_dict())
    assert other.tensors["0.weight"] is kept
    assert torch.equal(kept, average.tensors["0.weight"])
    assert other.count == 1
    before = kept.clone()
    with pytest.raises(KeyError, match=r"averages are of another model: 0.bias, 0.weight, "):
        other.load_state_dict(Average(nn.Linear(2, 3)).state_dict())
    assert torch.equal(kept, before)


def test_it_is_torchs_averaged_model_where_the_first_counts_fully_and_each_other_by_one_share():
    net = model()
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    ours = Average(net)
    for step in range(6):
        for tensor in (*net.parameters(), net[1].running_mean):
            with torch.no_grad():
                tensor.add_(torch.randn_like(tensor))
        theirs.update_parameters(net)
        ours.add(net, 0.1 if step else 1.0)
        for name, tensor in theirs.module.named_parameters():
            torch.testing.assert_close(ours.tensors[name], tensor, rtol=0, atol=1e-6)
    assert (ours.tensors["0.weight"] - net[0].weight).abs().max() > 0.1


class Counting(nn.Sequential):
    """Counts how often it is asked for its names."""

    asked = 0

    def named_parameters(self, *args, **kwargs):
        Counting.asked += 1
        return super().named_parameters(*args, **kwargs)


def test_the_names_are_asked_for_once_and_no_more_at_a_step():
    net = Counting(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = Average(net)
    before = Counting.asked
    for _ in range(5):
        average.add(net, 0.5)
    assert Counting.asked == before
    average.copy_to(net)
    assert Counting.asked > before


def test_a_tensor_that_is_replaced_is_followed_and_so_is_another_model():
    net = model()
    average = Average(net)
    net[1].running_mean = torch.full((3,), 5.0)
    net[0].bias = nn.Parameter(torch.full((3,), 7.0))
    average.add(net, 1.0)
    assert average.tensors["1.running_mean"].eq(5).all()
    assert average.tensors["0.bias"].eq(7).all()
    other = deepcopy(net)
    fill(other, 2)
    average.add(other, 1.0)
    assert average.tensors["0.weight"].eq(2).all()


def test_a_copy_averages_the_copied_model():
    net = model()
    average = Average(net)
    twin, copied = deepcopy((net, average))
    fill(twin, 4)
    copied.add(twin, 1.0)
    assert copied.tensors["0.weight"].eq(4).all()
    assert not average.tensors["0.weight"].eq(4).any()
    assert pickle.loads(pickle.dumps(average)).count == 0


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_model_and_one_that_has_only_the_methods_of_a_module_are_averaged():
    net = model()

    class Like:
        def __getattr__(self, name):
            return getattr(net, name)

    for other in (torch.jit.script(model()), Like()):
        average = Average(other)
        with torch.no_grad():
            next(iter(other.parameters())).fill_(3)
        average.add(other, 1.0)
        assert average.tensors["0.weight"].eq(3).all()


def test_what_has_no_shape_yet_is_refused():
    with pytest.raises(ValueError, match=r"'0\.weight' has none yet\. Call the model on one batch"):
        Average(nn.Sequential(nn.LazyLinear(2)))

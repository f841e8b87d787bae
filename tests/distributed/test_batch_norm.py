"""BatchNorm with the statistics of the global batch: D1 of the guarantees with such layers."""

from functools import cache

import pytest
import torch
from torch import nn

from lehr.distributed.batch_norm import SyncedBatchNorm, synchronize

from . import jobs

# A variance over the two or three values of one item divides by little.
NEAR = {"norms": 2e-6, "a share without items": 1e-5}


@pytest.fixture(scope="module")
def ends(values):
    return values(2, "norms")


alone = cache(lambda name: jobs.normed(None, **jobs.NORMED[name]))


@pytest.mark.parametrize(
    ("name", "how"), [*((name, "whole") for name in jobs.NORMED), ("norms", "sharded")]
)
def test_statistics_over_all_processes_are_those_of_one(name, how, ends):
    for end in (end[name, how] for end in ends):
        assert torch.allclose(end["weights"], alone(name)["weights"], atol=NEAR[name])
        assert torch.allclose(end["buffers"], alone(name)["buffers"], atol=NEAR[name])
        for row, expected in zip(end["rows"], alone(name)["rows"], strict=True):
            assert row == pytest.approx(expected, abs=NEAR[name])
        assert torch.equal(end["weights"], ends[0][name, how]["weights"])


def test_statistics_by_process_are_others(ends):
    """The control; the page on several processes gives this number."""
    (first, _), reference = (end["norms", "apart"] for end in ends), alone("norms")
    apart = (first["weights"] - reference["weights"]).abs().max().item()
    assert round(apart, 2) == 0.26


def test_a_model_that_is_sharded_already_is_refused(ends):
    for end in ends:
        assert "cannot be done in a model that is sharded already" in end["refused"]


def test_a_layer_without_parameters_has_none():
    model = nn.Sequential(nn.BatchNorm1d(3, affine=False, track_running_stats=False))
    synchronize(model)
    xb = torch.randn(4, 3)
    assert torch.allclose(model(xb), nn.functional.batch_norm(xb, None, None, training=True))


def test_a_layer_is_replaced_with_all_that_it_has():
    layer = nn.BatchNorm2d(3, eps=1e-3, momentum=0.3).eval()
    seen = []
    layer.register_forward_hook(lambda *args: seen.append(1))
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Sequential(layer))
    before = list(model.parameters())
    synchronize(model)
    new = model[1][0]
    assert type(new) is SyncedBatchNorm
    assert all(map(lambda a, b: a is b, before, model.parameters()))
    assert (new.eps, new.momentum, new.training) == (1e-3, 0.3, False)
    xb = torch.randn(4, 1, 2, 2)
    assert torch.equal(model(xb), nn.Sequential(model[0], layer)(xb))
    assert seen == [1, 1]


def test_of_another_kind_a_layer_stays():
    class Own(nn.BatchNorm1d):
        """Something of the user's."""

    model = nn.Sequential(Own(3), nn.InstanceNorm1d(3))
    synchronize(model)
    assert [type(layer) for layer in model] == [Own, nn.InstanceNorm1d]


def test_a_model_that_is_one_layer_is_refused():
    with pytest.raises(ValueError, match=r"this one is a BatchNorm layer itself"):
        synchronize(nn.BatchNorm1d(3))

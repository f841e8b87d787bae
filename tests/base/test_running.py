"""Layers with running statistics are found, and asked about them."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from lehr.base.running import (
    averages_all,
    can_be_measured,
    couples_items,
    has_statistics,
    statistics_of,
    with_statistics,
)
from lehr.models import RunningBatchNorm


class Fixed(nn.Module):
    """As torchvision's FrozenBatchNorm2d: statistics that never move."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(2))


def test_only_those_that_keep_statistics_are_found_lazy_ones_and_our_own_too():
    kept = [
        nn.BatchNorm2d(1),
        nn.LazyBatchNorm1d(),
        nn.InstanceNorm1d(1, track_running_stats=True),
        RunningBatchNorm(2),
        Fixed(),
    ]
    others = [
        nn.BatchNorm1d(1, track_running_stats=False),
        nn.InstanceNorm1d(1),
        nn.LayerNorm(1),
        spectral_norm(nn.Linear(2, 2)),
    ]
    assert with_statistics(nn.Sequential(*kept, nn.Sequential(*others))) == kept
    assert [has_statistics(one) for one in others] == [False] * 4


def test_they_can_be_measured_if_they_can_be_reset_and_have_a_momentum():
    norms = nn.BatchNorm1d(2), RunningBatchNorm(2), nn.InstanceNorm1d(2, track_running_stats=True)
    assert all(map(can_be_measured, norms))
    assert not any(map(can_be_measured, (Fixed(), nn.LayerNorm(2), nn.InstanceNorm1d(2))))


def test_their_statistics_are_their_own_buffers():
    assert list(statistics_of(RunningBatchNorm(2))) == [
        "sums",
        "squares",
        "count",
        "items",
        "num_batches_tracked",
    ]
    inside = nn.Sequential(nn.BatchNorm1d(2))
    assert list(statistics_of(inside)) == []


@pytest.mark.parametrize(
    ("norm", "couples"),
    [
        (nn.BatchNorm1d(2), True),
        (nn.BatchNorm3d(2, track_running_stats=False), True),
        (nn.SyncBatchNorm(2), True),
        (RunningBatchNorm(2), True),
        (nn.InstanceNorm2d(2, track_running_stats=True), False),
        (nn.GroupNorm(1, 2), False),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_couples_items_is_a_norm_over_the_batch(norm, couples):
    assert couples_items(norm) is couples


def test_a_momentum_of_none_is_the_mean_over_all_batches_unless_it_says_so():
    """In torch, an InstanceNorm without momentum keeps its statistics as they are."""
    for norm in (
        nn.BatchNorm1d(3),
        RunningBatchNorm(3),
        nn.InstanceNorm1d(3, track_running_stats=True),
    ):
        norm.momentum = None
        before = {name: value.clone() for name, value in statistics_of(norm).items()}
        norm(torch.randn(8, 3, 5))
        moved = any(not torch.equal(before[n], v) for n, v in statistics_of(norm).items())
        assert moved is averages_all(norm)

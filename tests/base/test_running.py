"""Layers with running statistics are found."""

from torch import nn

from lehr.base.running import with_statistics


def test_only_those_that_keep_statistics_are_found_lazy_ones_too():
    kept = [nn.BatchNorm2d(1), nn.LazyBatchNorm1d(), nn.InstanceNorm1d(1, track_running_stats=True)]
    others = [nn.BatchNorm1d(1, track_running_stats=False), nn.InstanceNorm1d(1), nn.LayerNorm(1)]
    assert with_statistics(nn.Sequential(*kept, nn.Sequential(*others))) == kept

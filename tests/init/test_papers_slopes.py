"""Learnt slopes, the two fans, and depths at which Xavier's start comes late or not at all."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr.init import kaiming_normal_

sys.path.append(str(Path(__file__).parents[2] / "examples"))
import papers


@pytest.mark.slow
def test_prelu_learns_a_slope_for_every_channel_unless_it_decays():
    """PReLU's slopes leave 0.25 and differ by channel after training; weight decay on them, which
    the paper advises against, pulls them to zero."""
    torch.manual_seed(0)
    slopes, accuracy = papers.learnt_slopes(epochs=4)
    assert [len(layer) for layer in slopes] == [16, 32, 32, 32]
    assert all(layer.std() > 0.03 for layer in slopes)
    assert all(0.15 < layer.mean() < 0.4 for layer in slopes)
    assert accuracy > 0.94
    torch.manual_seed(0)
    decayed, _ = papers.learnt_slopes(epochs=4, slope_decay=0.1)
    assert all(layer.mean().abs() < 0.1 for layer in decayed)


def test_scaling_by_either_fan_differs_only_by_the_outer_widths():
    """Down a stack of growing width, scaling by fan_out in place of fan_in changes the output's
    second moment by the ratio of the first width to the last, whatever lies between."""
    widths = [64, 512, 96, 512, 256]

    def second_moment(mode):
        x = torch.randn(2000, widths[0])
        for n_in, n_out in itertools.pairwise(widths):
            x = (x @ kaiming_normal_(torch.empty(n_out, n_in), mode=mode).T).relu()
        return x.square().mean().item()

    forward, backward = (
        torch.tensor(papers.over_seeds(lambda m=mode: second_moment(m), 9)).median().item()
        for mode in ("fan_in", "fan_out")
    )
    assert forward == pytest.approx(1, rel=0.25)
    assert backward / forward == pytest.approx(widths[0] / widths[-1], rel=0.35)
    assert backward / forward != pytest.approx(1, rel=0.35)


@pytest.mark.slow
@pytest.mark.large
def test_at_22_layers_xavier_comes_later_than_kaiming():
    """In 22 plain ReLU layers Xavier's start leaves the plateau too, but steps after Kaiming's."""
    plateau = 0.9 * math.log(10)

    def losses(gain, steps):
        torch.manual_seed(0)
        return papers.plain_training(22, gain, steps)

    xavier = losses(1.0, 330)
    assert min(losses(math.sqrt(2), 60)) < plateau < min(xavier[:61])
    assert min(xavier) < plateau < min(losses(papers.SQRT5_GAIN, 330))


def test_relu_keeps_the_size_but_not_what_tells_samples_apart():
    """A hundred ReLU layers with 2/n keep numbers finite while the samples become alike; SELU's
    stay apart."""
    torch.manual_seed(0)
    relu = papers.through_layers(nn.ReLU, math.sqrt(2))[-1]
    assert relu.across < 0.3 * relu.var
    selu = papers.through_layers()[-1]
    assert selu.across > 0.8 * selu.var

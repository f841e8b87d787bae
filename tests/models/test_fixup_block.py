"""Residual blocks without normalisation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.init import ScalarBias, ScalarScale
from lehr.models import FixupBlock, resnet


def blocks_of(model):
    return [layer for layer in model if isinstance(layer, FixupBlock)]


def test_a_number_is_added_before_each_convolution_and_activation():
    kinds = [type(layer) for layer in FixupBlock(4, 4).body]
    for kind, before in zip(kinds[1:], kinds, strict=False):
        if kind in (nn.Conv2d, nn.ReLU):
            assert before is ScalarBias
    assert kinds[-2:] == [ScalarScale, ScalarBias]  # the last before the activation behind the sum


def test_a_net_without_normalisation_has_none_and_starts_as_the_paper_says():
    """L blocks of two layers: the second is zero, the first shrunk by √L; the classifier is zero,
    so each class has the same probability at first."""
    torch.manual_seed(0)
    model = resnet(1, 10, widths=(32, 64), blocks=8, norm=False)
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    blocks = blocks_of(model)
    assert len(blocks) == 16
    for block in blocks:
        first, last = (layer for layer in block.body if isinstance(layer, nn.Conv2d))
        assert last.weight.abs().max() == 0
        expected = (2 / first.weight[0].numel()) ** 0.5 / 16**0.5
        assert first.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert model(torch.randn(4, 1, 12, 12)).abs().max() == 0


@pytest.mark.parametrize("size", [1, 7, 28])
def test_images_of_any_size(size):
    assert resnet(1, 7, norm=False)(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_every_parameter_learns_once_the_zeros_have_moved():
    torch.manual_seed(0)
    model = resnet(1, 3, widths=(4, 6), blocks=2, norm=False)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    F.cross_entropy(model(torch.rand(8, 1, 6, 6)), torch.arange(8) % 3).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def losses(model, steps=30):
    """The loss at each step on 64 pictures of two kinds."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = torch.randn(64, 1, 8, 8, generator=draw) + 2.0 * y.view(-1, 1, 1, 1)
    opt, found = torch.optim.SGD(model.parameters(), lr=0.2), []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        found.append(loss.item())
        opt.zero_grad()
        loss.backward()
        opt.step()
    return found


def test_it_trains_at_one_rate_at_any_depth_where_kaiming_does_not():
    """With 1 and 24 blocks a stage the loss falls to below half at the same rate. Started as usual,
    the deep net overflows or does not learn."""
    for blocks in (1, 24):
        torch.manual_seed(0)
        assert losses(resnet(1, 2, widths=(8, 8), blocks=blocks, norm=False))[-1] < 0.35
    torch.manual_seed(0)
    usual = resnet(1, 2, widths=(8, 8), blocks=24, norm=False)
    for layer in usual.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    assert not losses(usual)[-1] < 0.35

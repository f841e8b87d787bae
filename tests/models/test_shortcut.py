"""The way around a block has the size of what the block makes."""

import torch
from torch import nn

from lehr.models.shortcut import shortcut


def test_without_a_change_it_is_the_image_itself():
    x = torch.randn(2, 3, 5, 5)
    assert shortcut(halve=False)(x) is x


def test_halving_rounds_up_and_does_not_count_what_is_outside():
    x = torch.ones(1, 1, 5, 3)
    assert torch.equal(shortcut(halve=True)(x), torch.ones(1, 1, 3, 2))


def test_the_projection_comes_after_the_halving():
    way = shortcut(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), halve=True)
    assert [type(part).__name__ for part in way] == ["AvgPool2d", "Conv2d", "BatchNorm2d"]
    assert way(torch.zeros(2, 3, 6, 6)).shape == (2, 4, 3, 3)

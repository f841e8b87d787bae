"""The lesson's convolutional network."""

import pytest
import torch
from torch import nn

from lehr.models import cnn


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_the_lessons_cnn():
    model = cnn()
    assert count(model) == 15_594
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    convs = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [conv.kernel_size for conv in convs] == [(5, 5), (3, 3), (3, 3), (3, 3)]
    assert {conv.stride for conv in convs} == {(2, 2)}


def test_cnn_with_normalisation_has_no_second_bias():
    model = cnn(3, 7, widths=(4, 6), norm=True)
    assert count(model) == 3 * 4 * 25 + 8 + 4 * 6 * 9 + 12 + 6 * 7 + 7
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 7)


def test_cnn_without_widths():
    with pytest.raises(ValueError, match="widths must hold at least one width; got none"):
        cnn(widths=())


@pytest.mark.parametrize(("pixels", "left"), [(28, 2), (8, 1), (5, 1), (1, 1)])
def test_images_of_any_size_do(pixels, left):
    model = cnn(1, 10)
    seen = []
    model[-3].register_forward_hook(lambda module, args, output: seen.append(args[0].shape[-2:]))
    assert model(torch.zeros(2, 1, pixels, pixels)).shape == (2, 10)
    assert seen == [(left, left)]

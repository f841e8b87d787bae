"""Models by name."""

import pytest
import torch
from torch import nn

from lehr.models import MODELS, build


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("item_shape", [(1, 8, 8), (3, 28, 28)])
def test_every_name_builds(name, item_shape):
    model = build(name, item_shape, 4)
    assert model(torch.zeros(2, *item_shape)).shape == (2, 4)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"there is no model 'cnn_nrom'\. Did you mean cnn_norm\?"):
        build("cnn_nrom", (1, 8, 8), 10)
    with pytest.raises(ValueError, match="Use one of: linear, mlp, cnn, cnn_norm"):
        build("transformer", (1, 8, 8), 10)


def test_images_only():
    with pytest.raises(ValueError, match=r"item_shape must be .* for cnn; got \(64,\)"):
        build("cnn", (64,), 10)


def test_classes():
    with pytest.raises(ValueError, match="classes must be at least 1; got 0"):
        build("mlp", (64,), 0)


def test_resnet_by_name_suits_the_size_of_the_image():
    strides = {}
    for pixels in (8, 27, 28, 64):
        model = build("resnet", (3, pixels, pixels), 10)
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        strides[pixels] = (convolutions[0].stride[0], convolutions[-1].out_channels)
        assert model(torch.zeros(2, 3, pixels, pixels)).shape == (2, 10)
    assert strides == {8: (1, 128), 27: (1, 128), 28: (2, 128), 64: (2, 256)}

import pytest
import torch
from torch import nn

from lehr.models import build, resnet
from lehr.models.resnet import ResidualBlock


@pytest.mark.parametrize("size", [1, 7, 8, 28, 32])
def test_images_of_any_size(size):
    assert resnet(1, 7).eval()(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_large_images_are_halved_at_once():
    model = build("resnet", (3, 224, 224), 5)
    assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 5)
    assert model[0].stride == (2, 2)
    assert build("resnet", (3, 8, 8), 5)[0].stride == (1, 1)


def test_a_new_block_passes_on_what_came_in():
    x = torch.rand(4, 8, 5, 5)
    block = ResidualBlock(8, 8)
    assert torch.equal(block(x), x)
    nn.init.ones_(block.body[-1].weight)
    assert not torch.equal(block(x), x)


def test_a_halving_block_averages():
    block = ResidualBlock(1, 1, halve=True)
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert block(x).flatten().tolist() == [2, 3.5, 6.5, 8]


def test_every_parameter_learns_and_blocks_deepen():
    model = resnet(1, 3, widths=(4, 6), blocks=2)
    blocks = [layer for layer in model if isinstance(layer, ResidualBlock)]
    assert len(blocks) == 4
    for block in blocks:
        nn.init.ones_(block.body[-1].weight)
    nn.functional.cross_entropy(model(torch.rand(8, 1, 6, 6)), torch.arange(8) % 3).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_channels_last_computes_the_same():
    model, x = resnet(3, 4).eval(), torch.rand(2, 3, 16, 16)
    expected = model(x)
    nhwc = torch.channels_last
    got = model.to(memory_format=nhwc)(x.contiguous(memory_format=nhwc))
    assert torch.allclose(got, expected, atol=1e-5)
    inner = model[:4](x.contiguous(memory_format=nhwc))
    assert inner.is_contiguous(memory_format=nhwc)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": ()}, "widths must hold at least one width; got none"),
        ({"widths": (8, 0)}, "widths must be at least 1; got 0"),
        ({"blocks": 0}, "blocks must be at least 1; got 0"),
        ({"stem_stride": 0}, "stem_stride must be at least 1; got 0"),
        ({"classes": 0}, "classes must be at least 1; got 0"),
        ({"channels_in": 0}, "channels_in must be at least 1; got 0"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        resnet(**arguments)

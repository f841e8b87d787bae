"""Counts are compared with what autograd sees: an output's inputs are where its gradient is."""

import pytest
import torch
from torch import nn

from lehr.init import Fans, fans, fans_of


def seen_fans(layer, channels_in, size):
    """Mean number of inputs per output and of outputs per input, borders left out."""
    with torch.no_grad():
        layer.weight.fill_(1.0)
    dims = layer.weight.ndim - 2
    x = torch.ones(1, channels_in, *[size] * dims, requires_grad=True)
    out = layer(x)
    (reached,) = torch.autograd.grad(out.sum(), x)
    inner = (0, slice(None), *[slice(size // 3, size // 3 + 4)] * dims)
    inner_out = (0, slice(None), *[slice(n // 3, n // 3 + 4) for n in out.shape[2:]])
    return out[inner_out].mean().item(), reached[inner].mean().item()


LAYERS = {
    "plain": nn.Conv2d(4, 6, 3, bias=False),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, bias=False),
    "depthwise": nn.Conv2d(4, 4, 5, groups=4, bias=False),
    "strided": nn.Conv2d(4, 6, 3, stride=2, bias=False),
    "one dimension": nn.Conv1d(4, 6, 3, stride=2, bias=False),
    "three dimensions": nn.Conv3d(4, 6, 3, bias=False),
    "dilated": nn.Conv2d(4, 6, 3, dilation=2, bias=False),
    "transposed": nn.ConvTranspose2d(4, 6, 3, bias=False),
    "transposed, strided": nn.ConvTranspose2d(4, 6, 4, stride=2, bias=False),
    "transposed, grouped": nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2, bias=False),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_fans_are_what_autograd_sees(layer):
    """Of (grouped, strided, dilated, transposed) convolutions, fan_in is the number of inputs that
    one output sums over and fan_out the mean number of outputs that one input reaches: both equal
    what the layer does when all its weights are one."""
    assert fans_of(layer)[:2] == pytest.approx(seen_fans(layer, 4, 24))


def test_fans_of_the_lessons_first_convolution_and_first_linear_layer():
    """A weight of shape (32, 1, 5, 5) has a receptive field of 25 positions, fan_in 25 and fan_out
    800; a linear weight is stored as (out, in), so (50, 784) has fan_in 784 and fan_out 50."""
    assert fans(torch.empty(32, 1, 5, 5)) == Fans(25, 800, 25)
    assert fans(torch.empty(50, 784)) == Fans(784, 50, 1)
    assert fans(torch.empty(784, 50)) != Fans(784, 50, 1)


def test_grouped_convolutions_count_their_own_group():
    """With groups, an output sees ni / groups channels and an input reaches nf / groups. PyTorch's
    own count misses the second, which makes fan_out too large by the number of groups, and takes
    the two fans of transposed convolutions for each other."""
    torch_count = nn.init._calculate_fan_in_and_fan_out
    grouped = nn.Conv2d(8, 16, 3, groups=4)
    assert fans_of(grouped) == Fans(2 * 9, 4 * 9, 9)
    assert torch_count(grouped.weight) == (2 * 9, 16 * 9)
    transposed = nn.ConvTranspose2d(8, 16, 3)
    assert fans_of(transposed) == Fans(8 * 9, 16 * 9, 9)
    assert torch_count(transposed.weight) == (16 * 9, 8 * 9)


@pytest.mark.parametrize("shape", [(50, 784), (32, 1, 5, 5), (4, 3, 7), (2, 3, 2, 2, 2)])
def test_plain_layers_agree_with_torch(shape):
    weight = torch.empty(shape)
    assert fans(weight)[:2] == nn.init._calculate_fan_in_and_fan_out(weight)


def test_fans_of_layers_without_a_kernel():
    assert fans_of(nn.Linear(3, 5)) == Fans(3, 5, 1)
    assert fans_of(nn.Embedding(1000, 64)) == Fans(1, 64, 1)
    assert fans_of(nn.Bilinear(3, 4, 5)) == Fans(12, 20, 1)
    assert fans_of(nn.MultiheadAttention(8, 2)) == Fans(8, 8, 1)


def test_fans_by_name():
    some = Fans(10, 30, 1)
    assert (some.of("fan_in"), some.of("fan_out"), some.of("fan_mean")) == (10, 30, 20)
    with pytest.raises(
        ValueError, match=r"must be a fan's name; got 'fanin'\. Did you mean fan_in"
    ):
        some.of("fanin")


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"layer of known kind; got ReLU\. Count by hand"):
        fans_of(nn.ReLU())
    with pytest.raises(TypeError, match=r"stride must be an int of at least 1; got 1\.5"):
        fans(torch.empty(2, 2), stride=1.5)
    with pytest.raises(ValueError, match=r"groups must divide the weight's first size, 2; got 3"):
        fans(torch.empty(2, 2), groups=3)

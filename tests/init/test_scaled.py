import math

import pytest
import torch
from torch import nn

from lehr.init import (
    fans_of,
    gain,
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    scaled_normal_,
    scaled_uniform_,
    xavier_normal_,
    xavier_uniform_,
)

SHAPE = (400, 100, 3, 3)  # fan_in 900, fan_out 3600
DEVIATIONS = {
    "kaiming_normal": (lambda w: kaiming_normal_(w), math.sqrt(2 / 900)),
    "kaiming_normal, leak": (lambda w: kaiming_normal_(w, 0.5), math.sqrt(2 / 1.25 / 900)),
    "kaiming_normal, back": (lambda w: kaiming_normal_(w, mode="fan_out"), math.sqrt(2 / 3600)),
    "kaiming_uniform": (lambda w: kaiming_uniform_(w), math.sqrt(2 / 900)),
    "xavier_normal": (lambda w: xavier_normal_(w), math.sqrt(2 / 4500)),
    "xavier_normal, gain": (lambda w: xavier_normal_(w, 3.0), 3 * math.sqrt(2 / 4500)),
    "xavier_uniform": (lambda w: xavier_uniform_(w), math.sqrt(2 / 4500)),
    "lecun_normal": (lambda w: lecun_normal_(w), math.sqrt(1 / 900)),
    "scaled_normal": (lambda w: scaled_normal_(w, 2.0), 2 / 30),
    "scaled_uniform": (lambda w: scaled_uniform_(w, 2.0, mode="fan_out"), 2 / 60),
}


@pytest.mark.parametrize(("fill", "std"), DEVIATIONS.values(), ids=DEVIATIONS)
def test_mean_and_deviation(fill, std):
    torch.manual_seed(0)
    weight = fill(torch.empty(SHAPE))
    assert weight.std().item() == pytest.approx(std, rel=0.005)  # 360 000 numbers: ± 0.12 %
    assert abs(weight.mean().item()) < 4 * std / 600


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda w: kaiming_normal_(w, 0.1), lambda w: nn.init.kaiming_normal_(w, 0.1)),
        (
            lambda w: kaiming_uniform_(w, mode="fan_out"),
            lambda w: nn.init.kaiming_uniform_(w, mode="fan_out"),
        ),
        (xavier_normal_, nn.init.xavier_normal_),
        (xavier_uniform_, nn.init.xavier_uniform_),
    ],
    ids=["kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"],
)
def test_kaiming_and_xavier_draw_the_same_numbers_as_torch(ours, theirs):
    """For plain layers, Kaiming and Xavier initialisation draw the numbers that PyTorch's functions
    draw from the same seed, to rounding; from another seed the numbers differ."""
    drawn = []
    for fill, seed in ((ours, 1), (theirs, 1), (theirs, 2)):
        torch.manual_seed(seed)
        drawn.append(fill(torch.empty(8, 4, 3, 3, dtype=torch.float64)))
    torch.testing.assert_close(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_uniform_draws_reach_root_three_times_their_deviation():
    """Uniform Kaiming draws lie within √3 times the deviation of the normal ones, which gives them
    the same deviation; without the √3 they would have 0.58 of it."""
    torch.manual_seed(0)
    weight = kaiming_uniform_(torch.empty(1000, 1000), 0.1)
    std = gain(0.1) / math.sqrt(1000)
    assert weight.abs().max().item() == pytest.approx(math.sqrt(3) * std, rel=1e-4)
    assert weight.std().item() == pytest.approx(std, rel=2e-3)
    narrow = weight.uniform_(-std, std).std().item()
    assert narrow == pytest.approx(std / math.sqrt(3), rel=2e-3)


@pytest.mark.parametrize("shape", [(1000, 1000), (1000, 40, 5, 5)])
def test_root_five_is_a_plain_uniform_draw(shape):
    """Kaiming's uniform draw with a = √5 is U(-1/√fan_in, 1/√fan_in), of deviation 1/√(3·fan_in):
    the bound times √fan_in and the deviation times √(3·fan_in) are both 1. ReLU would need a
    deviation √6 times as large."""
    torch.manual_seed(0)
    weight = kaiming_uniform_(torch.empty(shape), math.sqrt(5))
    fan_in = math.prod(shape[1:])
    assert gain(math.sqrt(5)) * math.sqrt(3) == pytest.approx(1, abs=1e-12)
    assert weight.abs().max().item() * math.sqrt(fan_in) == pytest.approx(1, rel=1e-4)
    assert weight.std().item() * math.sqrt(3 * fan_in) == pytest.approx(1, rel=5e-3)
    ratio = kaiming_uniform_(torch.empty(shape)).std() / weight.std()
    assert ratio.item() == pytest.approx(math.sqrt(6), rel=5e-3)


@pytest.mark.parametrize("kind", [lambda: nn.Linear(300, 20), lambda: nn.Conv2d(12, 20, 5)])
def test_root_five_is_an_argument_that_torch_layers_pass(kind):
    """√5 is no part of Kaiming initialisation: it is the slope that PyTorch's Linear and Conv
    layers pass to it when they reset their parameters, and they still do."""
    torch.manual_seed(0)
    layer = kind()
    torch.manual_seed(0)
    again = kaiming_uniform_(torch.empty_like(layer.weight), math.sqrt(5))
    torch.testing.assert_close(layer.weight.detach(), again.detach())
    torch.manual_seed(0)
    assert not torch.allclose(layer.weight, kaiming_uniform_(torch.empty_like(again)))


def test_kaiming_keeps_the_signal_through_thirty_layers():
    """With a = 0 the pre-activations of a ReLU network 512 wide have a deviation near √2 at every
    one of 30 layers; with a = √5 they have lost twelve orders of magnitude at the last."""
    for a, low, high in ((0.0, 1.1, 1.8), (math.sqrt(5), 1e-13, 1e-11)):
        torch.manual_seed(0)
        x = torch.randn(256, 512)
        stds = []
        for _ in range(30):
            z = x @ kaiming_normal_(torch.empty(512, 512), a).T
            stds.append(z.std(0).mean().item() if a else z.std().item())
            x = z.relu()
        assert low < stds[-1] < high
        if not a:
            assert all(low < std < high for std in stds), stds


def test_kaiming_gives_the_exact_mean_and_deviation_after_the_first_rectifier():
    """Kaiming weights turn unit-variance inputs into rectified numbers of mean 1/√π = 0.564 and
    deviation √(1 - 1/π) = 0.826; weights made for a linear network (a = 1) give 0.707 of that."""
    torch.manual_seed(0)
    x = torch.randn(4096, 512)
    out = (x @ kaiming_normal_(torch.empty(512, 512)).T).relu()
    exact = 1 / math.sqrt(math.pi), math.sqrt(1 - 1 / math.pi)
    assert (out.mean().item(), out.std().item()) == pytest.approx(exact, rel=0.01)
    linear = (x @ kaiming_normal_(torch.empty(512, 512), 1).T).relu()
    assert linear.std().item() / out.std().item() == pytest.approx(math.sqrt(0.5), rel=0.01)


@pytest.mark.parametrize(
    ("layer", "torch_is_wrong"),
    [
        (nn.Conv2d(64, 64, 3, padding="same", bias=False), False),
        (nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1, bias=False), True),
    ],
    ids=["conv", "transposed"],
)
def test_fans_of_the_layer_keep_the_variance(layer, torch_is_wrong):
    torch.manual_seed(0)
    x = torch.randn(8, 64, 32, 32)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    kaiming_normal_(layer.weight, 1, fans=fans_of(layer))
    assert layer(x)[inner].std().item() == pytest.approx(1, rel=0.05)
    nn.init.kaiming_normal_(layer.weight, 1)
    assert (abs(layer(x)[inner].std().item() - 1) > 0.3) is torch_is_wrong


def test_fan_out_keeps_the_gradient_of_a_grouped_strided_convolution():
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 4, stride=2, padding=1, groups=16, bias=False)
    x = torch.zeros(8, 64, 32, 32, requires_grad=True)
    deviations = []
    for fans in (fans_of(layer), None):
        kaiming_normal_(layer.weight, 1, mode="fan_out", fans=fans)
        out = layer(x)
        (grad,) = torch.autograd.grad(out, x, torch.randn_like(out))
        deviations.append(grad[..., 4:-4, 4:-4].std().item())
    assert deviations == pytest.approx([1, 1 / math.sqrt(16 * 4)], rel=0.05)


def test_a_linear_weight_is_stored_output_first():
    """PyTorch stores the weight of a layer from 784 to 50 numbers as (50, 784) and computes
    x·Wᵀ + b; written by hand it is (784, 50) and x·W + b. Both give the same outputs to 1e-6."""
    torch.manual_seed(0)
    layer, x = nn.Linear(784, 50), torch.rand(64, 784)
    assert layer.weight.shape == (50, 784)
    by_hand = layer.weight.detach().T.contiguous()
    assert by_hand.shape == (784, 50)
    torch.testing.assert_close(layer(x), x @ by_hand + layer.bias, rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        x @ layer.weight


def test_fans_follow_the_storage():
    """Which side is fan_in depends on the layout: for a weight written by hand as (784, 50), hand
    over its transpose, or the deviation is √(1/50) instead of √(1/784)."""
    torch.manual_seed(0)
    by_hand = torch.empty(784, 50)
    kaiming_normal_(by_hand.T, 1)
    assert by_hand.std().item() == pytest.approx(1 / 28, rel=0.02)
    kaiming_normal_(by_hand, 1)
    assert by_hand.std().item() == pytest.approx(1 / math.sqrt(50), rel=0.02)


def test_a_fan_that_does_not_exist():
    with pytest.raises(ValueError, match=r"got 'fanin'\. Did you mean fan_in\?"):
        kaiming_normal_(torch.empty(2, 2), mode="fanin")

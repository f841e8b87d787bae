import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.init import ScalarBias, ScalarScale, fixup_, initialise, zero_last_

WIDTH, CLASSES = 24, 10


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Block(nn.Module):
    """x + two layers of x, with the scalars that Fixup asks for."""

    def __init__(self, n_layers=2):
        super().__init__()
        layers = []
        for _ in range(n_layers):
            layers += [ScalarBias(), nn.Linear(WIDTH, WIDTH), ScalarBias(), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-2], ScalarScale())

    def forward(self, x):
        return x + self.body(x)


def net(depth, n_layers=2):
    blocks = [Block(n_layers) for _ in range(depth)]
    return nn.Sequential(nn.Linear(16, WIDTH), nn.ReLU(), *blocks, nn.Linear(WIDTH, CLASSES))


def branches(model):
    return [module.body for module in model if isinstance(module, Block)]


def loss_after(model, steps):
    centres = 3 * torch.randn(CLASSES, 16, generator=seeded(1))
    y = torch.arange(128) % CLASSES
    x = centres[y] + torch.randn(128, 16, generator=seeded(2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return F.cross_entropy(model(x), y).item()


@pytest.mark.parametrize(("n_layers", "exponent"), [(1, None), (2, -1 / 2), (3, -1 / 4)])
def test_fixup_zeroes_the_last_layer_and_scales_the_others_by_depth(n_layers, exponent):
    """In a residual branch of m layers Fixup starts the last layer at zero and multiplies the
    standard deviation of the others by L^(-1/(2m-2)), with a minus, for L branches; a branch of one
    layer is only zeroed."""
    model = net(64, n_layers)
    fixup_(branches(model), model[-1], generator=seeded())
    linears = [m for m in branches(model)[5] if isinstance(m, nn.Linear)]
    assert linears[-1].weight.count_nonzero() == 0 == model[-1].weight.count_nonzero()
    all_inner = [
        layer.weight.flatten()
        for branch in branches(model)
        for layer in [m for m in branch if isinstance(m, nn.Linear)][:-1]
    ]
    assert len(all_inner) == 64 * (n_layers - 1)
    if exponent:
        std = torch.cat(all_inner).std().item()
        assert std == pytest.approx(math.sqrt(2 / WIDTH) * 64**exponent, rel=0.02)
        assert std < math.sqrt(2 / WIDTH) * 64**-exponent / 2
    biases = [p for name, p in model[2:].named_parameters() if name.endswith("bias")]
    assert all(bias.count_nonzero() == 0 for bias in biases)


def test_every_block_starts_as_identity():
    """With the last layer of each branch at zero, a deep residual network hands on what came in; a
    standard start multiplies the variance by about three in every block instead."""
    model = net(10)
    x = torch.randn(64, WIDTH, generator=seeded(3))
    inner = model[2:-1]
    initialise(model, generator=seeded())
    growth = inner(x).var().item() / x.var().item()
    assert 2**10 < growth < 4**10
    zero_last_([[layer for layer in b if isinstance(layer, nn.Linear)] for b in branches(model)])
    assert torch.equal(inner(x), x)
    initialise(model, generator=seeded())
    fixup_(branches(model))
    assert torch.equal(inner(x), x)


@pytest.mark.slow
def test_no_normalisation_is_needed():
    """Fixup shows that very deep residual networks train *without* normalisation: five steps of
    gradient descent lower the loss by the same amount at 10, 50 and 200 blocks, to three digits.
    Zeroing the last layers without scaling the others trains 10 blocks, but not 50."""
    losses = []
    for depth in (10, 50, 200):
        model = net(depth)
        initialise(model, generator=seeded())
        fixup_(branches(model), model[-1], generator=seeded())
        losses.append(loss_after(model, 5))
    assert losses[0] < math.log(CLASSES) - 0.3
    assert losses == pytest.approx([losses[0]] * 3, abs=0.03), losses
    zeroed = []
    for depth in (10, 50):
        model = net(depth)
        initialise(model, generator=seeded())
        zero_last_([[m for m in b if isinstance(m, nn.Linear)] for b in branches(model)])
        zero_last_([[model[-1]]])
        zeroed.append(loss_after(model, 20))
    assert zeroed[0] < 1
    assert not zeroed[1] < math.log(CLASSES)


def test_twice_is_once():
    model = net(4)
    fixup_(branches(model), generator=seeded())
    first = [p.clone() for p in model.parameters()]
    fixup_(branches(model), generator=seeded())
    assert all(torch.equal(a, b) for a, b in zip(first, model.parameters(), strict=True))


def test_convolutions_and_what_lies_outside():
    branch = [nn.Conv2d(4, 64, 3, groups=2), nn.ReLU(), nn.Conv2d(64, 4, 3)]
    fixup_([branch], generator=seeded())
    assert branch[0].weight.std().item() == pytest.approx(math.sqrt(2 / 18), rel=0.05)
    stem = nn.Linear(2, 2)
    before = stem.weight.clone()
    fixup_([[nn.Linear(2, 2)]])
    assert torch.equal(stem.weight, before)


def test_a_last_normalisation_becomes_zero():
    branch = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    zero_last_([branch])
    assert branch[1].running_var.tolist() == [1, 1]
    assert branch(torch.randn(3, 2, 4, 4)).count_nonzero() == 0


def test_scalars_learn():
    scalars = nn.Sequential(ScalarBias(), ScalarScale())
    scalars(torch.full((4,), 3.0)).sum().backward()
    assert [p.grad.item() for p in scalars.parameters()] == [4, 12]


def test_wrong_arguments():
    linear = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"branches must hold a branch; got none\. Give each"):
        fixup_([])
    with pytest.raises(ValueError, match=r"branches\[1\] must hold a layer; got none\. Leave"):
        fixup_([[linear], [nn.ReLU()]])
    with pytest.raises(ValueError, match=r"branches\[0\] must end in a layer; got ReLU\. End the"):
        zero_last_([[linear, nn.ReLU()]])
    with pytest.raises(TypeError, match=r"layer of known kind; got BatchNorm2d"):
        fixup_([[nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)]])

import pytest
import torch
from torch import nn

from lehr.inspect.chains import follow, is_branch_end
from lehr.inspect.measure import measure


def scaled(gain, width=256):
    layer = nn.Linear(width, width, bias=False)
    nn.init.orthogonal_(layer.weight, gain)
    return layer


def signals(model, batch):
    return [[s.signal for s in chain] for chain in follow(measure(model, batch).sites)]


def test_the_signal_multiplies_from_layer_to_layer():
    torch.manual_seed(0)
    (chain,) = signals(nn.Sequential(scaled(0.5), scaled(3), scaled(0.1)), torch.randn(64, 256))
    assert chain == pytest.approx([0.5, 1.5, 0.15], rel=1e-4)


def test_a_normalisation_begins_a_new_chain():
    model = nn.Sequential(scaled(0.5), nn.LayerNorm(256), scaled(0.5), scaled(0.5))
    chains = signals(model, torch.randn(64, 256))
    assert [len(chain) for chain in chains] == [1, 2]
    assert chains[1] == pytest.approx([0.5, 0.25], rel=1e-4)


def test_pooling_is_not_held_against_the_layers():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 1, bias=False)
    nn.init.orthogonal_(conv.weight)
    head = nn.Linear(8, 8, bias=False)
    nn.init.orthogonal_(head.weight)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    (chain,) = signals(model, torch.randn(64, 8, 16, 16))
    assert chain == pytest.approx([1, 1], rel=0.05)
    flat = measure(model, torch.randn(64, 8, 16, 16)).sites
    assert flat[-1].out.across < 0.1  # which would look like a loss


def test_what_a_skip_adds_counts_for_the_next_layer():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = scaled(1.0)

        def forward(self, x):
            return x + self.inner(x)

    torch.manual_seed(0)
    (chain,) = signals(nn.Sequential(*(Block() for _ in range(5))), torch.randn(256, 256))
    assert chain == pytest.approx([2 ** (k / 2) for k in range(5)], rel=0.1)


def test_a_branch_ends_where_the_next_one_hears_more():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch, self.head = scaled(0.01), scaled(1.0)

        def forward(self, x):
            return self.head(torch.lerp(x, self.branch(x), 0.5))  # a sum that is none by name

    branch, head, output = measure(Skip(), torch.randn(64, 256)).sites
    assert not branch.added
    assert is_branch_end(branch, head)
    assert not is_branch_end(head, output)
    assert not is_branch_end(output, None)

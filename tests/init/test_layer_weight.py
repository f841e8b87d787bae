"""Weights that are parameters, and weights that are made of some."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lehr.init.layer_weight import LayerWeight, has_weight

LAYERS = {
    "plain": lambda: nn.Linear(3, 2),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 2)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 2)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_is_read_filled_and_has_a_key(name):
    layer = LAYERS[name]()
    weight = LayerWeight(layer)
    assert has_weight(layer)
    assert (weight.ndim, weight.trainable) == (2, True)
    with torch.no_grad():
        weight.fill(nn.init.orthogonal_)
    value = weight.read()
    torch.testing.assert_close(value @ value.T, torch.eye(2), atol=1e-4, rtol=0)
    assert weight.key == LayerWeight(layer).key != LayerWeight(LAYERS[name]()).key
    weight.stored[0].requires_grad_(False)
    assert not weight.trainable


@pytest.mark.parametrize("name", ["plain", "weight norm"])
def test_what_is_written_is_read(name):
    weight = LayerWeight(LAYERS[name]())
    value = torch.randn(2, 3)
    with torch.no_grad():
        assert not torch.allclose(weight.read(), value)
        weight.write(value)
    torch.testing.assert_close(weight.read().detach(), value)


def test_modules_without_a_weight():
    class Reads(nn.Module):
        """Shows the weight of a layer inside, and cannot set it."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        @property
        def weight(self):
            return self.layer.weight

    for module in (
        nn.ReLU(),
        nn.Sequential(nn.Linear(1, 1)),
        Reads(),
        nn.LayerNorm(3, bias=False, elementwise_affine=False),
    ):
        assert not has_weight(module)


def test_a_lazy_weight_counts_as_a_matrix():
    assert LayerWeight(nn.LazyLinear(2)).ndim == 2

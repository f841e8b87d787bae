"""Fully connected networks."""

import torch
from torch import nn

from lehr.models import mlp


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_mlp():
    model = mlp(784, 10)
    assert [type(layer) for layer in model] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    deep = mlp(6, 2, hidden=(5, 4), act=nn.Tanh)
    assert [layer.out_features for layer in deep if isinstance(layer, nn.Linear)] == [5, 4, 2]
    assert count(mlp(6, 2, hidden=())) == 14


def test_a_linear_model_has_no_activation():
    assert [type(layer) for layer in mlp(6, 2, hidden=())] == [nn.Flatten, nn.Linear]


def test_items_of_any_shape_are_flattened():
    model, images = mlp(12, 3), torch.randn(4, 1, 3, 4)
    assert model(images).equal(model(images.flatten(1)))
    assert not model(images).equal(model(images.transpose(2, 3)))  # the order of the pixels counts

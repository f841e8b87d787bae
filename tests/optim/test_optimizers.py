"""One optimizer or several by name: their parameters, and clearing their gradients."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from lehr.optim.optimizers import clear_gradients, each, held_parameters


class Counting(SGD):
    """Clears gradients in its own way."""

    cleared = 0

    def zero_grad(self, set_to_none=True):
        self.cleared += 1
        super().zero_grad(set_to_none=False)


@pytest.fixture
def layers():
    layers = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 1)])
    layers[1](layers[0](torch.ones(1, 2))).sum().backward()
    return layers


def identities(parameters):
    return [id(p) for p in parameters]


def test_one_optimizer_and_several_by_name_are_a_list(layers):
    a, b = SGD(layers[0].parameters(), lr=0.1), Adam(layers[1].parameters())
    assert each(a) == [a]
    assert each({"generator": b, "critic": a}) == [b, a]


def test_held_parameters_keep_the_order_of_optimizers_and_groups(layers):
    first, second = ([*layer.parameters()] for layer in layers)
    groups = SGD([{"params": second}, {"params": first, "lr": 1.0}], lr=0.1)
    assert identities(held_parameters(groups)) == identities([*second, *first])
    several = {"a": SGD(first, lr=0.1), "b": SGD(second, lr=0.1)}
    assert identities(held_parameters(several)) == identities([*first, *second])


def test_a_parameter_that_two_optimizers_hold_comes_once(layers):
    several = {"a": SGD(layers.parameters(), lr=0.1), "b": Adam(layers[1].parameters())}
    assert identities(held_parameters(several)) == identities(layers.parameters())


def test_clearing_sets_the_gradients_of_every_group_and_optimizer_to_none(layers):
    assert all(p.grad is not None for p in layers.parameters())
    groups = [{"params": [layers[0].weight]}, {"params": [layers[0].bias]}]
    clear_gradients({"a": SGD(groups, lr=0.1), "b": Adam(layers[1].parameters())})
    assert all(p.grad is None for p in layers.parameters())


def test_clearing_leaves_parameters_that_no_optimizer_holds(layers):
    clear_gradients(SGD(layers[0].parameters(), lr=0.1))
    assert layers[0].weight.grad is None
    assert layers[1].weight.grad is not None


def test_an_optimizer_that_clears_in_its_own_way_is_asked_to(layers):
    opt = Counting(layers.parameters(), lr=0.1)
    clear_gradients(opt)
    assert opt.cleared == 1
    assert all(p.grad is not None and not p.grad.any() for p in layers.parameters())


def test_every_optimizer_steps():
    from lehr.optim import optimizers

    weights = [torch.ones(1, requires_grad=True) for _ in range(2)]
    for w in weights:
        w.grad = torch.ones(1)
    optimizers.step({str(i): torch.optim.SGD([w], lr=0.5) for i, w in enumerate(weights)})
    assert [w.item() for w in weights] == [0.5, 0.5]

"""One optimizer or several by name: their parameters, their step, and clearing their gradients."""

import functools
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, optimizer

from lehr.optim import optimizers
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
    weights = [weight_with_a_gradient() for _ in range(2)]
    optimizers.step({str(i): SGD([w], lr=0.5) for i, w in enumerate(weights)})
    assert [w.item() for w in weights] == [0.5, 0.5]


def weight_with_a_gradient() -> Tensor:
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    return weight


@pytest.fixture
def sgd():
    return SGD([weight_with_a_gradient()], lr=0.5)


def weight_of(opt: torch.optim.Optimizer) -> float:
    return opt.param_groups[0]["params"][0].item()


def test_where_nothing_listens_the_step_has_no_label(sgd, monkeypatch):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(torch.autograd.profiler, "record_function", refuse)
    with pytest.raises(AssertionError, match=r"Optimizer\.step#SGD\.step"):
        sgd.step()
    optimizers.step(sgd)
    assert weight_of(sgd) == 0.5


def test_a_profiler_sees_the_label(sgd):
    with torch.profiler.profile() as seen:
        optimizers.step(sgd)
    assert "Optimizer.step#SGD.step" in {event.key for event in seen.key_averages()}
    assert weight_of(sgd) == 0.5


@pytest.mark.parametrize(
    "register",
    [
        lambda opt, hook: opt.register_step_pre_hook(hook),
        lambda opt, hook: opt.register_step_post_hook(hook),
        lambda opt, hook: optimizer.register_optimizer_step_pre_hook(hook),
        lambda opt, hook: optimizer.register_optimizer_step_post_hook(hook),
    ],
    ids=["before", "after", "before any", "after any"],
)
def test_hooks_around_a_step_are_called(sgd, register):
    calls: list[object] = []
    optimizers.step(sgd)
    handle = register(sgd, lambda opt, args, kwargs: calls.append(opt))
    try:
        optimizers.step(sgd)
    finally:
        handle.remove()
    optimizers.step(sgd)
    assert calls == [sgd]
    assert weight_of(sgd) == -0.5


def test_what_wraps_the_step_of_one_optimizer_is_called(sgd):
    scheduler = torch.optim.lr_scheduler.StepLR(sgd, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it says so where it saw no step
        optimizers.step(sgd)
        scheduler.step()


def test_what_wraps_the_step_of_a_class_is_called(sgd):
    calls: list[object] = []

    class Wrapped(SGD):
        @functools.wraps(SGD.step)  # and looks like what torch wraps
        def step(self, closure=None):
            calls.append(self)
            return super().step(closure)

    opt = Wrapped([weight_with_a_gradient()], lr=0.5)
    optimizers.step(opt)
    assert calls == [opt]
    assert weight_of(opt) == 0.5


def test_anything_with_a_step_steps():
    class Proxy:
        def __init__(self, opt: torch.optim.Optimizer) -> None:
            self.opt = opt

        def __getattr__(self, name: str) -> object:
            return getattr(self.opt, name)

    opt = SGD([weight_with_a_gradient()], lr=0.5)
    optimizers.step(Proxy(opt))  # pyright: ignore[reportArgumentType]
    assert weight_of(opt) == 0.5

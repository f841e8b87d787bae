"""Rung 2: modules that record by assignment are torch's, parameter by parameter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lehr.foundations.module import (
    DummyModule,
    Linear,
    Module,
    ModuleList,
    ReLU,
    Sequential,
    SequentialModel,
)


def mlp() -> Sequential:
    return Sequential(Linear(784, 50), ReLU(), Linear(50, 10))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(0, 100), st.data())
def test_a_stack_equals_torchs_in_values_and_gradients(widths, seed, draw):
    relus = draw.draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths)))
    ours, theirs = [], []
    for n_in, n_out, relu in zip(widths[:-1], widths[1:], relus, strict=False):
        ours += [Linear(n_in, n_out), ReLU()] if relu else [Linear(n_in, n_out)]
        theirs += [nn.Linear(n_in, n_out), nn.ReLU()] if relu else [nn.Linear(n_in, n_out)]
    ours, theirs = Sequential(*ours), nn.Sequential(*theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, widths[0], generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    for model in (ours, theirs):
        model(x).square().sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours(x), theirs(x) + 0.1)


def test_layers_start_with_the_bits_that_torchs_start_with():
    torch.manual_seed(0)
    ours = mlp()
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    for (name, p), (other, q) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(p, q)
    assert not torch.equal(mlp()[0].weight, theirs[0].weight)


def test_relu_has_no_gradient_at_zero_as_torchs():
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    ReLU()(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 1]
    x.grad = None
    x.clamp_min(0).sum().backward()
    assert x.grad.tolist() == [0, 1, 1]  # how another way to write it differs


def test_dummy_module_finds_its_layers_again():
    """Two assigned layers are found in order, with parameters of shapes (50, 784), (50,), (10, 50)
    and (10,), made one at a time; the text shows both layers.
    """
    model = DummyModule(784, 50, 10)
    assert [name for name, _ in model.named_modules()] == ["", "l1", "l2"]
    parameters = model.parameters()
    assert iter(parameters) is parameters
    assert [list(p.shape) for p in parameters] == [[50, 784], [50], [10, 50], [10]]
    assert "(l1): Linear" in repr(model)
    assert "(l2): Linear" in repr(model)


def test_hooks_see_every_call_until_they_are_removed():
    model, seen = mlp(), []
    handle = model[1].register_forward_hook(lambda module, args, out: seen.append(out.shape))
    model(torch.rand(2, 784))
    handle.remove()
    model(torch.rand(3, 784))
    assert seen == [(2, 50)]


def test_a_module_list_records_its_modules_and_has_no_forward():
    """The layers of a ModuleList give 4 parameters, those of a Python list none; calling the list
    itself is an error.
    """

    class Plain(Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = list(layers)

    layers = [Linear(784, 50), ReLU(), Linear(50, 10)]
    assert len(list(SequentialModel(layers).parameters())) == 4
    assert len(list(Plain(layers).parameters())) == 0
    assert len(ModuleList(layers)) == 3
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        ModuleList(layers)(torch.rand(1, 784))


def test_hooks_on_the_container_fire_unless_call_is_overridden():
    """A hook on a model whose ``forward`` is defined hears every call; one whose ``__call__`` is
    overridden never calls its hooks.
    """

    class OverridesCall(SequentialModel):
        def __call__(self, x):
            return self.forward(x)

    heard = []
    for kind in (SequentialModel, OverridesCall):
        model = kind([Linear(2, 2)])
        model.register_forward_hook(lambda module, args, out: heard.append(type(module).__name__))
        model(torch.rand(1, 2))
    assert heard == ["SequentialModel"]


def test_names_differ_when_layers_are_recorded_by_hand():
    """Layers recorded one by one as layer_0, layer_1, … have the same parameters as a ModuleList,
    but other names: ``layer_0.weight`` against ``layers.0.weight``.
    """

    class ByHand(Module):
        def __init__(self, layers):
            super().__init__()
            for i, layer in enumerate(layers):
                setattr(self, f"layer_{i}", layer)

    layers = [Linear(4, 3), ReLU(), Linear(3, 2)]
    by_hand, listed = ByHand(layers), SequentialModel(layers)
    for p, q in zip(by_hand.parameters(), listed.parameters(), strict=True):
        assert p is q
    assert list(by_hand.state_dict())[:2] == ["layer_0.weight", "layer_0.bias"]
    assert list(listed.state_dict())[:2] == ["layers.0.weight", "layers.0.bias"]
    with pytest.raises(ValueError, match="does not fit"):
        listed.load_state_dict(by_hand.state_dict())


def test_sequential_is_the_chain_of_its_children():
    """Sequential gives what calling its layers one by one gives; they are named 0, 1, 2, and a
    slice is a Sequential.
    """
    model, x = mlp(), torch.rand(5, 784)
    by_hand = model[2](model[1](model[0](x)))
    torch.testing.assert_close(model(x), by_hand, rtol=0, atol=1e-7)
    assert not torch.allclose(model[:2](x).mean(1), by_hand.mean(1))
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "2"]
    assert isinstance(model[:2], Sequential)
    assert len(model[:2]) == 2
    assert model[-1] is model[2]


def test_the_mode_reaches_every_part():
    """`train` and `eval` set the flag of a module and of all its parts, and return the module."""
    model = SequentialModel([Sequential(Linear(1, 1), ReLU())])
    assert model.training
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.layers[0].train()
    assert [m.training for m in model.modules()] == [False, False, True, True, True]
    assert all(module.training for module in model.train().modules())

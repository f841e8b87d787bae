"""What is assigned is recorded, under torch's names: the half of rung 2 that modules stand on."""

import copy

import pytest
import torch
from torch import nn

from lehr.foundations.module import DummyModule, Linear, Module, ReLU, Sequential, SequentialModel
from lehr.foundations.registry import Parameter


def shapes(model) -> list[list[int]]:
    return [list(p.shape) for p in model.parameters()]


def test_a_plain_number_does_not_break_the_parameters():
    """Assigning a number leaves the parameters alone; recording every public name breaks them."""

    class RecordsAll:
        def __init__(self):
            self._modules = {}
            self.l1 = Linear(2, 3)

        def __setattr__(self, name, value):
            if not name.startswith("_"):
                self._modules[name] = value
            super().__setattr__(name, value)

        def parameters(self):
            for part in self._modules.values():
                yield from part.parameters()

    ours, naive = DummyModule(2, 3, 4), RecordsAll()
    ours.n = naive.n = 3
    assert len(list(ours.parameters())) == 4
    with pytest.raises(AttributeError, match="'int' object has no attribute 'parameters'"):
        list(naive.parameters())


def test_every_assignment_runs_setattr_and_the_registry_must_exist_first():
    """Assignments outside the constructor are recorded too; without a rule that lets the registry
    itself through, making it raises AttributeError, and assigning to self recurses for ever.
    """
    model = DummyModule(2, 3, 4)
    model.l3 = Linear(4, 1)
    assert len(list(model.parameters())) == 6

    class NoRule:
        def __init__(self):
            self._modules = {}

        def __setattr__(self, name, value):
            self._modules[name] = value
            super().__setattr__(name, value)

    class NotThroughTheParent:
        def __setattr__(self, name, value):
            setattr(self, name, value)

    with pytest.raises(AttributeError, match="_modules"):
        NoRule()
    with pytest.raises(RecursionError):
        NotThroughTheParent().l1 = 1


class Scaled(Module):
    def __init__(self):
        super().__init__()
        self.inner = Linear(3, 3)
        self.scale = Parameter(torch.ones(3))
        self.plain = torch.zeros(3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return self.inner(x) * self.scale


class TorchScaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.plain = torch.zeros(3)
        self.register_buffer("seen", torch.zeros(()))


def test_modules_record_what_torchs_record_under_the_same_names():
    """Parameters, buffers and modules are recorded under torch's names and in torch's order; plain
    tensors and numbers are not.
    """
    ours, theirs = Scaled(), TorchScaled()
    for names in ("named_parameters", "named_buffers", "named_modules"):
        ours_names, theirs_names = ([n for n, _ in getattr(m, names)()] for m in (ours, theirs))
        assert ours_names == theirs_names
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert "plain" not in ours.state_dict()
    ours.plain = Parameter(ours.plain)
    assert "plain" in ours.state_dict()


def test_assigning_before_the_constructor_of_the_base_is_refused():
    """Assigning a layer before ``super().__init__()`` raises an error that says so."""

    class Early(Module):
        def __init__(self):
            self.l1 = Linear(1, 1)
            super().__init__()

    class EarlyNumber(Module):
        def __init__(self):
            self.n = 3
            super().__init__()

    with pytest.raises(AttributeError, match=r"l1 cannot be recorded yet. Call super\(\)"):
        Early()
    assert EarlyNumber().n == 3


def test_what_is_replaced_or_deleted_is_forgotten_and_order_stays():
    model = Scaled()
    model.inner = Linear(3, 2)
    assert shapes(model) == [[3], [2, 3], [2]]
    model.seen = torch.tensor(5.0)
    assert dict(model.named_buffers()) == {"seen": torch.tensor(5.0)}
    model.inner = torch.zeros(2)
    assert shapes(model) == [[3]]
    assert [name for name, _ in model.named_buffers()] == ["seen"]
    del model.scale
    assert shapes(model) == []
    assert not hasattr(model, "scale")


def test_a_plain_tensor_in_the_place_of_a_parameter_is_refused():
    model = Linear(2, 1)
    with pytest.raises(TypeError, match=r"weight is a parameter.*Assign Parameter\(value\)"):
        model.weight = model.weight - 1
    model.weight = Parameter(torch.zeros(1, 2))
    assert model.state_dict()["weight"].tolist() == [[0, 0]]


def test_a_module_of_torchs_is_refused_as_it_would_not_be_trained():
    with pytest.raises(TypeError, match="l1 is torch's module"):
        Module().l1 = nn.Linear(1, 1)


def test_a_shared_parameter_counts_once_but_keeps_both_names_in_the_state():
    def tied(layer, sequence):
        model = sequence(layer(3, 3), layer(3, 3))
        model[1].weight = model[0].weight
        return model

    ours, theirs = tied(Linear, Sequential), tied(nn.Linear, nn.Sequential)
    assert len(list(ours.parameters())) == len(list(theirs.parameters())) == 3
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    twice = Linear(2, 2)
    assert len(list(Sequential(twice, twice).modules())) == 2
    assert len(list(Sequential(twice, twice).children())) == 2  # it is called twice


def test_own_parameters_only():
    assert [list(p.shape) for p in Scaled().parameters(recurse=False)] == [[3]]
    assert [b.item() for b in Scaled().buffers()] == [0]


def test_state_is_loaded_in_place_and_what_does_not_fit_is_named():
    model, other = Scaled(), Scaled()
    before = model.inner.weight
    model.load_state_dict(other.state_dict())
    assert model.inner.weight is before
    assert torch.equal(model.inner.weight, other.inner.weight)
    state = Scaled().state_dict()
    state["more"] = state.pop("inner.bias")
    state["scale"] = torch.ones(4)
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.load_state_dict(state)
    for told in (
        "inner.bias: expected (3,), got None",
        "more: expected None, got (3,)",
        "scale: expected (3,), got (4,)",
    ):
        assert told in str(caught.value)
    assert torch.equal(model.inner.weight, other.inner.weight)  # nothing of it was loaded


def test_a_copy_is_independent():
    model = Scaled()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.scale += 1
    assert torch.equal(dict(twin.named_parameters())["scale"], torch.full((3,), 2.0))
    assert torch.equal(model.scale, torch.ones(3))


def test_the_text_shows_the_tree():
    assert repr(SequentialModel([ReLU()])) == (
        "SequentialModel(\n  (layers): ModuleList(\n    (0): ReLU()\n  )\n)"
    )

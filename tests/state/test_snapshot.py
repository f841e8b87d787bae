"""States, captured without sharing and put back exactly."""

import copy
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam

from lehr.state.differences import first_difference
from lehr.state.entries import (
    ModelState,
)
from lehr.state.snapshot import capture, look, restore

from .parts import Box, containers_and_tensors, small_model, train


def test_a_snapshot_holds_plain_copies_and_shares_nothing():
    live = {"t": torch.zeros(3), "list": [torch.ones(2), {"n": 1}], "tuple": (torch.ones(1), None)}
    snapshot = capture({"box": Box(live)})
    assert first_difference(snapshot, {"box": live}) is None
    ours = [*containers_and_tensors(snapshot["box"])]
    theirs = [*containers_and_tensors(live)]
    assert not {id(part) for part in ours} & {id(part) for part in theirs if part != ()}
    live["t"] += 1
    live["list"][1]["n"] = 2
    live["list"].append(None)
    assert snapshot["box"]["t"].tolist() == [0, 0, 0]
    assert snapshot["box"]["list"][1:] == [{"n": 1}]


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, momentum=0.9), Adam, LBFGS])
def test_a_snapshot_shares_no_memory_with_a_model_or_an_optimizer(make):
    model = small_model()
    entries = {"model": ModelState(model), "opt": make(model.parameters())}
    train(model, entries["opt"], 2)
    snapshot = capture(entries)
    live = {name: entry.state_dict() for name, entry in entries.items()}
    theirs = [t for t in containers_and_tensors(live) if isinstance(t, torch.Tensor)]
    ours = [t for t in containers_and_tensors(snapshot) if isinstance(t, torch.Tensor)]
    memory = {t.untyped_storage().data_ptr() for t in theirs}
    assert len(ours) == len(theirs) > 6
    assert not memory & {t.untyped_storage().data_ptr() for t in ours}
    kept = copy.deepcopy(snapshot)
    train(model, entries["opt"], 2)
    assert first_difference(kept, snapshot) is None
    assert first_difference(kept, capture(entries))


def test_what_is_restored_shares_nothing_with_the_snapshot():
    box = Box({"t": torch.zeros(2), "list": [1]})
    snapshot = capture({"box": box})
    for _ in range(2):
        restore({"box": box}, snapshot)
        assert box.value["list"] == [1]
        assert not box.value["t"].any()
        box.value["t"] += 1
        box.value["list"].append(2)


def test_a_captured_tensor_has_no_graph():
    weight = torch.ones(2, requires_grad=True)
    assert capture({"box": Box({"loss": weight.sum()})})["box"]["loss"].requires_grad is False


class Odd:
    def __init__(self):
        self.tensor, self.words = torch.zeros(2), ["a"]


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ({"seen": {1, 2}}, lambda v: v["seen"].add(3)),
        ({"a": [0, {"b": np.zeros(2)}]}, lambda v: np.put(v["a"][1]["b"], 0, 1)),
        ({"a": [torch.float32]}, lambda v: v["a"].__setitem__(0, torch.float64)),
        ({"a": Odd()}, lambda v: v["a"].words.append("b")),
        ({"a": Odd()}, lambda v: v["a"].tensor.add_(1)),
        ({"a": SimpleNamespace(n={"b": 1})}, lambda v: v["a"].n.update(b=2)),
        ({"a": torch.eye(2).to_sparse()}, lambda v: v["a"].mul_(2)),
    ],
)
def test_what_is_of_no_known_kind_is_copied_and_compared(value, change):
    snapshot, again = capture({"box": Box(value)}), capture({"box": Box(value)})
    assert first_difference(snapshot, again) is None
    change(value)
    assert first_difference(snapshot, again) is None
    assert first_difference(snapshot, capture({"box": Box(value)}))


def test_what_cannot_be_copied_is_refused_with_its_path():
    numbers = (n for n in range(3))
    match = (
        r"^state entry box\.a\[1\] is generator, which copy\.deepcopy cannot copy: .*generator.*"
        r"Convert it in state_dict\.$"
    )
    with pytest.raises(TypeError, match=match):
        capture({"box": Box({"a": [None, numbers]})})


@pytest.mark.parametrize("lazy", [nn.LazyLinear(2), nn.LazyBatchNorm1d()])
def test_what_is_lazy_is_lazy_in_a_snapshot_too(lazy):
    entries = {"model": ModelState(lazy)}
    before = capture(entries)
    assert first_difference(before, capture(entries)) is None
    assert first_difference(before, look(entries)) is None
    lazy(torch.ones(4, 3))
    assert " against (" in first_difference(before, capture(entries))
    with pytest.raises(ValueError, match=r"has no values .* has in the model\. .* before the"):
        restore(entries, before)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ab", "state entry 'b' is missing from the snapshot; nothing was restored."),
        ("", "state entry 'a' is missing from these objects; nothing was restored."),
        ("acb", "state entries 'b', 'c' are missing from the snapshot; nothing was restored."),
        (
            "cb",
            "state entries 'b', 'c' are missing from the snapshot and state entry 'a' is missing "
            "from these objects; nothing was restored.",
        ),
    ],
)
def test_a_snapshot_of_other_entries_is_refused_and_nothing_changes(names, message):
    entries = {name: Box(2) for name in names}
    with pytest.raises(KeyError, match=f"^{re.escape(repr(message))}$"):
        restore(entries, {"a": 1})
    assert all(box.value == 2 for box in entries.values())


def test_the_error_for_other_entries_ends_with_what_to_do():
    with pytest.raises(KeyError, match=r"nothing was restored\. Bring b\."):
        restore({"a": Box(1)}, {"b": 1}, todo="Bring b.")


class Refusing(Box):
    """Takes in half of a state, and then no more."""

    def load_state_dict(self, state_dict):
        self.value = state_dict["half"]
        if state_dict.get("bad"):
            raise state_dict_error(state_dict["bad"])


def state_dict_error(name):
    return {"key": KeyError("left"), "stop": KeyboardInterrupt("now")}[name]


@pytest.mark.parametrize(("bad", "error"), [("key", KeyError), ("stop", KeyboardInterrupt)])
def test_an_entry_that_cannot_be_loaded_leaves_all_as_they_were(bad, error):
    model = small_model()
    opt = Adam(model.parameters())
    entries = {"model": ModelState(model), "opt": opt, "last": Refusing({"half": {"half": 1}})}
    snapshot = capture(entries)
    train(model, opt, 2)
    entries["last"].value = {"half": {"half": 2}}
    before = capture(entries)
    assert first_difference(snapshot["opt"], before["opt"])
    with pytest.raises(error) as caught:
        restore(entries, {**snapshot, "last": {"half": 3, "bad": bad}})
    assert caught.value.__notes__ == [
        "state entry 'last' could not be loaded; all entries are as they were before."
    ]
    entries["last"].value = {"half": entries["last"].value}
    assert first_difference(before, capture(entries)) is None


def test_entries_that_cannot_be_put_back_are_named():
    class Closing(Box):
        def load_state_dict(self, state_dict):
            raise OSError("closed")

    entries = {"numbers": Box(n for n in (1, 2)), "shut": Closing(1), "fine": Box(2)}
    with pytest.raises(OSError, match="closed") as caught:
        restore(entries, {"numbers": 3, "shut": 3, "fine": 3})
    assert caught.value.__notes__ == [
        "state entry 'shut' could not be loaded; all entries are as they were before, except "
        "numbers, shut."
    ]
    assert entries["fine"].value == 2


@pytest.mark.parametrize("take", [capture, look])
def test_an_entry_that_raises_is_named(take):
    class Broken(Box):
        def state_dict(self):
            raise ValueError("it is gone")

    with pytest.raises(ValueError, match="it is gone") as raised:
        take({"callbacks.mine": Broken(1)})
    assert raised.value.__notes__ == ["That was in the state of callbacks.mine."]


def test_what_cannot_be_captured_can_be_replaced():
    box = Box({1, 2})
    restore({"box": box}, {"box": 3})
    assert box.value == 3


def test_a_look_shares_the_tensors_that_a_capture_copies():
    layer = torch.nn.Linear(2, 2)
    seen, copied = look({"model": layer}), capture({"model": layer})
    assert first_difference(seen, copied) is None
    assert type(seen["model"]["weight"]) is torch.Tensor
    with torch.no_grad():
        layer.weight.add_(1)
    assert torch.equal(seen["model"]["weight"], layer.weight)
    assert not torch.equal(copied["model"]["weight"], layer.weight)


@pytest.mark.parametrize("numbers", [[1, 2.5, "a", None, True], (1, 2), []])
def test_numbers_are_copied_as_they_are_and_with_their_container(numbers):
    kept = capture({"it": Holds({"numbers": numbers})})["it"]["numbers"]
    assert kept == numbers
    assert type(kept) is type(numbers)
    assert kept is not numbers or isinstance(numbers, tuple)


class Holds:
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state_dict):
        self.state = state_dict

"""Any nested state survives a round trip, and any single change to it is found and named."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr.state.differences import first_difference
from lehr.state.probe import probe
from lehr.state.snapshot import capture, restore
from tests.tier import count

some = settings(max_examples=count(40), deadline=None)

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8]


@st.composite
def tensors(draw, min_items=0):
    shape = draw(st.lists(st.integers(0 if not min_items else 1, 3), max_size=3))
    n = math.prod(shape)
    dtype = draw(st.sampled_from([*DTYPES, torch.bool]))
    numbers = st.floats(width=16) if dtype.is_floating_point else st.integers(0, 1)
    flat = draw(st.lists(numbers, min_size=n, max_size=n))
    return torch.tensor(flat, dtype=torch.float64).to(dtype).reshape(shape)


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
leaves = st.one_of(plain, tensors())
keys = st.one_of(st.text("abcxyz_", min_size=1, max_size=4), st.integers(0, 9))


def nested(inner):
    return st.one_of(
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
    )


states = st.dictionaries(keys, st.recursive(leaves, nested, max_leaves=12), max_size=4)


class Box:
    """An entry that is its value."""

    def __init__(self, value=None):
        self.value = value

    def state_dict(self):
        return self.value

    def load_state_dict(self, state_dict):
        self.value = state_dict


def leaf_paths(value, path=""):
    """(path, container, key) of every leaf, the path as differences name it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        here = f"{path}.{key}".lstrip(".") if isinstance(value, dict) else f"{path}[{key}]"
        if isinstance(inner, (dict, list, tuple)):
            yield from leaf_paths(inner, here)
        else:
            yield here, value, key


def replaced(value, container, key, new):
    """A copy of ``value`` in which one leaf, found by its place, is another."""
    if isinstance(value, dict):
        return {
            k: new if value is container and k == key else replaced(v, container, key, new)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        copies = [
            new if value is container and i == key else replaced(v, container, key, new)
            for i, v in enumerate(value)
        ]
        return tuple(copies) if isinstance(value, tuple) else copies
    return copy.deepcopy(value)


def scribble(value):
    """Change every tensor and container in place."""
    if isinstance(value, torch.Tensor):
        if value.numel():
            value.view(-1).view(torch.uint8).bitwise_xor_(1)
    elif isinstance(value, (dict, list, tuple)):
        for inner in value.values() if isinstance(value, dict) else value:
            scribble(inner)
        if isinstance(value, dict):
            value.clear()
        elif isinstance(value, list):
            value.append("more")


@st.composite
def another(draw, leaf):
    """A leaf that differs from ``leaf``."""
    if isinstance(leaf, torch.Tensor):
        ways = ["shape", "dtype"] + ["bit"] * (leaf.numel() > 0)
        way = draw(st.sampled_from(ways))
        if way == "shape":
            return leaf.unsqueeze(0)
        if way == "dtype":
            return leaf.to(torch.int32)
        new = leaf.clone()
        index = draw(st.integers(0, leaf.numel() - 1))
        new.view(-1)[index : index + 1].view(torch.uint8)[:1].bitwise_xor_(1)
        return new
    if isinstance(leaf, float) and math.isnan(leaf):
        return 0.0
    return draw(plain.filter(lambda new: type(new) is not type(leaf) or new != leaf))


@some
@given(st.dictionaries(st.sampled_from("abcd"), states, max_size=3))
def test_a_snapshot_puts_back_exactly_what_it_saw(values):
    entries = {name: Box(value) for name, value in values.items()}
    original = copy.deepcopy(values)
    snapshot = capture(entries)
    assert first_difference(original, snapshot) is None
    for box in entries.values():
        scribble(box.value)
    assert first_difference(original, snapshot) is None
    if any(values.values()):
        assert first_difference(original, capture(entries))
    restore(entries, snapshot)
    assert first_difference(original, capture(entries)) is None
    for box in entries.values():
        scribble(box.value)
    assert first_difference(original, snapshot) is None


@some
@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(states, states), min_size=1), st.data())
def test_if_one_entry_cannot_be_loaded_all_are_as_they_were(pairs, data):
    class Refusing(Box):
        def load_state_dict(self, state_dict):
            self.value = state_dict
            if state_dict == "broken":
                raise ZeroDivisionError

    entries = {name: Refusing(now) for name, (now, _) in pairs.items()}
    original = copy.deepcopy({name: now for name, (now, _) in pairs.items()})
    snapshot = {name: then for name, (_, then) in pairs.items()}
    bad = data.draw(st.sampled_from(sorted(pairs)))
    with pytest.raises(ZeroDivisionError):
        restore(entries, {**snapshot, bad: "broken"})
    assert first_difference(original, capture(entries)) is None
    restore(entries, snapshot)
    assert first_difference(snapshot, capture(entries)) is None


@some
@given(states, st.booleans())
def test_a_probe_leaves_no_trace(value, fails):
    box, original = Box(value), copy.deepcopy(value)
    try:
        with probe({"box": box}):
            scribble(box.value)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert first_difference(original, box.value) is None


@some
@given(states)
def test_nothing_differs_from_its_copy_nan_included(value):
    assert first_difference(value, copy.deepcopy(value)) is None


@settings(max_examples=count(50), deadline=None)
@given(states.filter(lambda value: any(leaf_paths(value))), st.data())
def test_a_single_changed_leaf_is_found_and_named(value, data):
    path, container, key = data.draw(st.sampled_from([*leaf_paths(value)]))
    changed = replaced(value, container, key, data.draw(another(container[key])))
    for a, b in [(value, changed), (changed, value)]:
        found = first_difference(a, b)
        assert found is not None
        assert found.startswith(f"{path}: ")


@some
@given(states, keys.map(lambda key: f"new_{key}"), leaves)
def test_a_key_too_many_is_found_and_named_from_both_sides(value, key, leaf):
    more = {**value, key: leaf}
    assert first_difference(value, more) == f"{key}: only in the second"
    assert first_difference(more, value) == f"{key}: only in the first"


@some
@given(tensors(min_items=1), st.data())
def test_the_sign_of_zero_counts_in_tensors(t, data):
    t = t.float()
    index = data.draw(st.integers(0, t.numel() - 1))
    plus, minus = t.clone(), t.clone()
    plus.view(-1)[index], minus.view(-1)[index] = 0.0, -0.0
    assert first_difference({"t": plus}, {"t": minus}).startswith("t: ")
    assert first_difference({"t": minus}, {"t": minus.clone()}) is None

"""Batches of every nesting: taken apart, counted, mapped and joined."""

import re
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, fields

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from lehr import DataBunch
from lehr.base.joining import join
from lehr.base.nested import (
    as_json,
    describe,
    floats_in,
    item_count,
    map_beside,
    map_leaves,
    map_tensors,
    placed,
    split_pair,
    tensors_in,
    without_entries,
)
from lehr.loop.losses import FromOutput
from lehr.testing import tiny_learner

Pair = namedtuple("Pair", ["image", "label"])
X, Y = torch.zeros(4, 2), torch.zeros(4)


@pytest.mark.parametrize(
    ("batch", "xb", "yb"),
    [
        ((X, Y), X, Y),
        ([X, Y], X, Y),
        (Pair(X, Y), X, Y),
        ((X,), X, None),
        ([X], X, None),
        (X, X, None),
        (((X, X), Y), (X, X), Y),
        (({"ids": X}, None), {"ids": X}, None),
    ],
)
def test_a_pair_is_split_and_a_lone_tensor_has_no_target(batch, xb, yb):
    got = split_pair(batch)
    assert repr(got) == repr((xb, yb))
    assert got[1] is yb


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ((X, Y, X), "tuple of 3"),
        ([], "list of 0"),
        ({"ids": X, "labels": Y}, "dict of 2"),
        ("text", "str"),
        (3, "int"),
    ],
)
def test_any_other_batch_is_refused_with_what_it_is(batch, named):
    match = rf"^a batch must be a pair \(xb, yb\) or one tensor; got {named}\. Give .*split_batch="
    with pytest.raises(TypeError, match=match):
        split_pair(batch)


def test_of_more_items_than_a_pair_the_example_says_their_places():
    ends = r"e\.g\. lambda b: \(b\[0\], b\[1\]\), or lambda b: \(\(b\[0\], b\[1\]\), b\[2\]\)\.$"
    with pytest.raises(TypeError, match=ends):
        split_pair([X, Y, X])


def test_none_and_arrays_are_told_where_they_come_from():
    with pytest.raises(
        TypeError, match=r"got None\. Does a collate_fn return nothing\? Let the lo"
    ):
        split_pair(None)
    words = r"got (ndarray|float32)\. Convert it in the loader: torch\.as_tensor\(batch\)\.$"
    for array in (np.zeros(4), np.float32(1)):
        with pytest.raises(TypeError, match=words):
            split_pair(array)


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (X, 4),
        (torch.zeros(0, 2), 0),
        ((torch.zeros(3, 9), X), 3),
        ([[torch.zeros(5)], X], 5),
        ({"ids": torch.zeros(6, 12), "mask": None}, 6),
        (OrderedDict(nested={"deep": (torch.zeros(7),)}), 7),
        (["a", "b", "c"], 3),
        ([1, 2], 2),
        ((0.5,), 1),
        ([b"x"], 1),
        (np.zeros((8, 2)), 8),
        (Pair(torch.zeros(9, 1), None), 9),
    ],
)
def test_items_are_counted_in_any_nesting(value, items):
    assert item_count(value) == items


@pytest.mark.parametrize(
    ("value", "named"),
    [(None, "NoneType"), ("text", "str"), (b"x", "bytes"), (3, "int"), ({}, "dict")]
    + [([], "list"), ((), "tuple"), ([None], "list"), ({"a": "text"}, "dict")],
)
def test_what_has_no_items_to_count_is_refused(value, named):
    match = rf"^cannot tell how many items a batch of {named} holds\. Give the Learner weight=, "
    with pytest.raises(TypeError, match=match):
        item_count(value)


def test_every_tensor_is_mapped_and_everything_else_stays():
    batch = {"a": X, "b": [Y, "text", (Y, None, 3)]}
    mapped = map_tensors(lambda t: t + 1, batch)
    assert torch.equal(mapped["a"], X + 1)
    assert torch.equal(mapped["b"][0], Y + 1)
    assert mapped["b"][1] == "text"
    assert isinstance(mapped["b"][2], tuple)
    assert torch.equal(mapped["b"][2][0], Y + 1)
    counted = map_tensors(str, {"a": [1], "b": "text"}, also=lambda value: value == 1)
    assert counted == {"a": ["1"], "b": "text"}
    assert mapped["b"][2][1:] == (None, 3)
    assert not X.any()  # the batch itself is as it was
    assert not Y.any()


def test_mapping_keeps_named_tuples():
    mapped = map_tensors(lambda t: t + 1, Pair(X, [Y]))
    assert isinstance(mapped, Pair)
    assert torch.equal(mapped.image, X + 1)
    assert torch.equal(mapped.label[0], Y + 1)


def test_mapping_reaches_a_tensor_that_stands_alone():
    assert torch.equal(map_tensors(lambda t: t + 1, X), X + 1)
    assert map_tensors(lambda t: t + 1, "text") == "text"


def test_the_first_tensor_with_a_length_counts_whatever_comes_before_it():
    tensor = torch.zeros(5, 2)
    for value in ({"mask": None, "ids": tensor}, (None, tensor), [torch.tensor(3.0), tensor]):
        assert item_count(value) == 5
    with pytest.raises(TypeError, match="a batch of Tensor holds"):
        item_count(torch.tensor(3.0))


def test_named_tuples_and_subclasses_of_lists_keep_working():
    Two = namedtuple("Two", "a b")

    class Own(list):
        def __init__(self, items, extra):
            super().__init__(items)

    pair = Two(torch.zeros(2, 1), torch.ones(2))
    assert map_tensors(len, pair) == Two(2, 2)
    assert map_tensors(len, Own([torch.zeros(3)], None)) == [3]
    assert map_tensors(len, torch.Size([1, 2])) == (1, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 3), "(2, 3) float32 cpu"),
        (torch.zeros((), dtype=torch.int64, device="meta"), "() int64 meta"),
        ({"ids": torch.zeros(2).bool(), "n": 4}, "{ids: (2,) bool cpu, n: int}"),
        ((torch.zeros(1), None), "[(1,) float32 cpu, None]"),
        ([1, 2, 3, 4], "[int, int, int, int]"),
        ([1, 2, 3, 4, 5], "[int, int, int, int, …]"),
        ([["a"]], "[[str]]"),
        (None, "None"),
        ({}, "{}"),
        (pack_sequence([torch.zeros(3, 2)]), "PackedSequence of (3, 2) float32 cpu"),
        (object(), "object"),
    ],
)
def test_a_batch_is_described_by_its_shapes(value, text):
    assert describe(value) == text


# Containers of other classes ---------------------------------------------------------------------


@dataclass
class Plain:
    logits: torch.Tensor
    note: str = "text"
    made: int = field(init=False, default=0)

    def __post_init__(self):
        self.made += 1


@dataclass(frozen=True, slots=True)
class Frozen:
    logits: torch.Tensor
    mask: object = None


class ModelOutput(OrderedDict):
    """As that of transformers: made of keywords, without those that are None, also as attributes;
    closed to `update`."""

    logits: torch.Tensor
    loss: object = None

    def __init__(self, *, logits, loss=None):
        super().__init__()
        for name, value in {"loss": loss, "logits": logits}.items():
            super().__setattr__(name, value)
            if value is not None:
                super().__setitem__(name, value)

    def update(self, *args, **kwargs):
        raise TypeError("cannot update")

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __reduce__(self):
        return (type(self)._made, (self.logits, self.loss))

    @classmethod
    def _made(cls, logits, loss):
        return cls(logits=logits, loss=loss)


class OnlyRead(Mapping):
    def __init__(self, held):
        self._held = held

    def __getitem__(self, key):
        return self._held[key]

    def __iter__(self):
        return iter(self._held)

    def __len__(self):
        return len(self._held)


def test_a_dataclass_keeps_its_class_and_is_not_made_anew():
    value = Plain(X, "other")
    mapped = map_tensors(lambda t: t + 1, value)
    assert (type(mapped), mapped.note, mapped.made) == (Plain, "other", 1)
    assert torch.equal(mapped.logits, X + 1)
    assert value.logits is X


def test_a_frozen_dataclass_with_slots_is_mapped_too():
    value = Frozen(X, [Y])
    mapped = map_tensors(lambda t: t + 1, value)
    assert torch.equal(mapped.logits, X + 1)
    assert torch.equal(mapped.mask[0], Y + 1)
    assert value.logits is X
    assert [f.name for f in fields(mapped)] == ["logits", "mask"]


def test_an_output_that_takes_keywords_and_drops_none_keeps_class_and_attributes():
    mapped = map_tensors(lambda t: t + 1, ModelOutput(logits=X))
    assert type(mapped) is ModelOutput
    assert list(mapped) == ["logits"]
    assert mapped.logits is mapped["logits"]
    assert torch.equal(mapped.logits, X + 1)
    assert mapped.loss is None


def test_dicts_of_any_class_keep_it_and_other_mappings_become_one():
    counted = defaultdict(list, a=X)
    assert map_tensors(len, counted) == {"a": 4}
    assert map_tensors(len, counted).default_factory is list
    assert type(map_tensors(len, UserDict(a=X))) is UserDict
    assert map_tensors(len, UserDict(a=X)) == {"a": 4}
    assert type(map_tensors(len, OnlyRead({"a": X}))) is dict
    assert counted["a"] is X


def test_what_torch_returns_with_names_keeps_them():
    mapped = map_tensors(lambda t: t + 1, torch.arange(6).reshape(2, 3).max(1))
    assert mapped.values.tolist() == [3, 6]
    assert mapped.indices.tolist() == [3, 3]


def test_a_packed_sequence_is_mapped_but_its_batch_sizes_are_not():
    packed = pack_sequence([torch.ones(1), torch.ones(3)], enforce_sorted=False)
    mapped = map_tensors(lambda t: t * 2, packed)
    assert isinstance(mapped, PackedSequence)
    assert mapped.data.tolist() == [2.0] * 4
    assert mapped.batch_sizes.tolist() == [2, 1, 1]
    same = map_tensors(torch.clone, packed)
    assert [s.tolist() for s in unpack_sequence(same)] == [[1.0], [1.0] * 3]


def test_tensors_are_found_in_all_containers_and_in_nothing_else():
    class Cache:
        keys = X

    assert [t is X for t in tensors_in([Plain(X), Frozen(Y, {"a": X}), Cache()])] == [
        True,
        False,
        True,
    ]
    assert len(list(tensors_in(pack_sequence([X])))) == 1
    assert map_tensors(len, kept := Cache()) is kept
    assert list(tensors_in(Plain)) == []  # the class itself


def test_only_dense_real_and_complex_numbers_are_floats():
    nested = torch.nested.nested_tensor([X[0]], layout=torch.jagged)
    values = [X, X.to_sparse(), nested, torch.zeros(1, dtype=torch.cfloat), torch.tensor(1)]
    assert [t is X for t in floats_in(values)] == [True, False]
    assert [t.is_complex() for t in floats_in(values)] == [False, True]


def test_leaves_are_what_is_no_container():
    assert map_leaves(repr, (1, [None, {"a": "b"}])) == ("1", ["None", {"a": "'b'"}])


def test_every_place_is_written_as_python_would_reach_it():
    batch = OrderedDict(x=[1, Pair("text", None)], other=Plain(X))
    places = dict(placed(batch, "batch"))
    assert list(places)[:3] == ["batch", "batch['x']", "batch['x'][0]"]  # containers come first
    assert len(places) == 7  # what is in a dataclass has no number and no key
    for path, thing in places.items():
        assert eval(path) is thing


def test_two_nestings_are_gone_through_side_by_side():
    value = {"a": 1, "b": (2, [3]), "c": Plain(X), "only here": 4}
    other = {"b": [5, (6,)], "a": 7, "c": Plain(Y), "only there": 8}
    seen = []
    same = map_beside(lambda one, there: seen.append((one, there)) or one, value, other)
    assert seen[:3] == [(1, 7), (2, 5), (3, 6)]
    assert seen[-1] == (4, None)
    assert any(one is X and there is Y for one, there in seen)
    assert (same["a"], same["b"], same["only here"]) == (1, (2, [3]), 4)
    assert (type(same["c"]), type(same["b"])) == (Plain, tuple)


@pytest.mark.parametrize("other", [None, 3, [1], [1, 2, 3], {"a": 1}])
def test_beside_what_has_another_form_there_is_nothing(other):
    assert map_beside(lambda one, there: there, [1, 2], other) == [None, None]


def test_entries_are_left_out_at_every_depth():
    value = {"a": 1, "seconds": 2, "b": ({"seconds": 3, "c": 4}, Pair(OnlyRead({"seconds": 5}), 6))}
    rest = without_entries(value, lambda key, inner: key == "seconds")
    assert rest == {"a": 1, "b": ({"c": 4}, Pair({}, 6))}
    assert "seconds" in value
    assert without_entries(value, lambda key, inner: inner == 5)["b"][1].image == {}


def test_containers_of_every_kind_become_those_of_json():
    value = {1: (2, {None: OrderedDict(a=[])}), "b": "text"}
    assert as_json(repr, value) == {"1": ["2", {"None": {"a": []}}], "b": "'text'"}


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_a_nested_tensor_is_described_by_the_number_of_its_items():
    parts = [torch.zeros(2, 3), torch.zeros(1, 3)]
    assert describe(torch.nested.nested_tensor(parts)) == "(2, …) float32 cpu"
    jagged = describe(torch.nested.nested_tensor(parts, layout=torch.jagged))
    assert jagged.startswith("(2, j")
    assert describe(Plain(X)) == "{logits: (4, 2) float32 cpu, note: str, made: int}"


# Mappings that count items, as TensorDict does ---------------------------------------------------


class LikeTensorDict(MutableMapping):
    """As the class of the package tensordict: it has the length of a batch, and gives its items."""

    __hash__ = None

    def __init__(self, values, size):
        self.held, self.batch_size = dict(values), torch.Size([size])

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.held[key]
        return LikeTensorDict({name: value[key] for name, value in self.held.items()}, 0)

    def __setitem__(self, key, value):
        assert len(value) == len(self)
        self.held[key] = value

    def __delitem__(self, key):
        del self.held[key]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return self.batch_size[0]

    def __contains__(self, key):
        raise NotImplementedError("use .keys()")

    def __bool__(self):
        raise ValueError("it has no truth value")

    def keys(self):
        return self.held.keys()

    def values(self):
        return self.held.values()

    def items(self):
        return self.held.items()


def like_tensor_dict(start, n=4):
    rows = torch.arange(start, start + n).float()
    return LikeTensorDict({"a": rows, "b": LikeTensorDict({"c": rows * 2}, n)}, n)


def test_a_mapping_that_counts_items_is_asked_for_its_keys():
    value = like_tensor_dict(0)
    assert describe(value) == "{a: (4,) float32 cpu, b: {c: (4,) float32 cpu}}"
    assert item_count(value) == 4
    assert map_tensors(torch.Tensor.tolist, value) == {"a": [0, 1, 2, 3], "b": {"c": [0, 2, 4, 6]}}
    joined = join([value, like_tensor_dict(4, 2)], [{4}, {2}])
    assert joined["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert joined["b"]["c"].tolist() == [0, 2, 4, 6, 8, 10]
    with pytest.raises(
        ValueError, match=r"^pred is \{a: .* but \{a: .* in batch 1: .* the same str"
    ):
        join([value, LikeTensorDict({"a": X}, 4)])
    assert list(value) != ["a", "b"]  # the control: what going through it gives


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        out = self.layer(x)
        return LikeTensorDict({"logits": out, "loss": out.square().mean(1)}, len(x))


def test_a_model_may_be_given_and_return_mappings_that_count_items():
    xs, ys = torch.randn(3, 4, 3), torch.randint(2, (3, 4))
    batches = [LikeTensorDict({"x": x, "y": y}, 4) for x, y in zip(xs, ys, strict=True)]

    def loss_func(out, yb):
        return nn.functional.cross_entropy(out["logits"], yb)

    learn = tiny_learner(model=Named(), loss_func=loss_func, data=DataBunch(batches, batches))
    assert learn.fit(1).n_steps == 3
    learn.summary()
    pred = learn.predict(batches)
    assert torch.equal(pred["logits"], learn.model.layer(xs.flatten(0, 1)))
    assert FromOutput("logits")(learn.model(xs[0])).shape == (4, 2)
    with pytest.raises(
        TypeError, match=r"got LikeTensorDict with 'logits', 'loss'\. Let the model"
    ):
        FromOutput("other")(learn.model(xs[0]))
    words = r"out\['logits'\]"
    with pytest.raises(Exception) as failed:
        tiny_learner(model=Named(), data=DataBunch(batches, batches)).fit(1)
    assert re.search(words, "".join(failed.value.__notes__))

"""Batches of every nesting: taken apart, counted, mapped and joined."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch

from lehr.base.nested import describe, item_count, join, map_tensors, split_pair

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
        (np.zeros(4), "ndarray"),
        (3, "int"),
    ],
)
def test_any_other_batch_is_refused_with_what_it_is(batch, named):
    match = rf"^a batch must be a pair \(xb, yb\) or one tensor; got {named}\. Give .*split_batch="
    with pytest.raises(TypeError, match=match):
        split_pair(batch)


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


def test_joining_puts_batches_end_to_end():
    a, b = torch.arange(6).reshape(3, 2), torch.arange(6, 10).reshape(2, 2)
    assert join([a, b]).tolist() == torch.arange(10).reshape(5, 2).tolist()
    assert join([b, a]).tolist() != join([a, b]).tolist()


def test_joining_keeps_the_nesting():
    joined = join([{"a": X, "b": (Y, [Y])}, {"a": X[:1], "b": (Y[:2], [Y[:3]])}])
    assert joined["a"].shape == (5, 2)
    assert isinstance(joined["b"], tuple)
    assert isinstance(joined["b"][1], list)
    assert [len(joined["b"][0]), len(joined["b"][1][0])] == [6, 7]


@pytest.mark.parametrize(("part", "named"), [(1.5, "float"), ("text", "str"), (None, "NoneType")])
def test_what_cannot_be_joined_is_refused(part, named):
    match = rf"^predictions must be tensors, .*; got {named}\. Watch after_pred with a callback"
    with pytest.raises(TypeError, match=match):
        join([(X, part), (X, part)])


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
    assert join([pair, pair]).a.shape == (4, 1)
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
    ],
)
def test_a_batch_is_described_by_its_shapes(value, text):
    assert describe(value) == text

"""What batches gave is joined so that nothing of one item is glued to another."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, pad_sequence, unpack_sequence

from lehr.base.joining import join, sizes_of

Pair = namedtuple("Pair", ["image", "label"])
X, Y = torch.zeros(4, 2), torch.zeros(4)
EIGHTS = [{8}, {8}]


@dataclass
class Output:
    logits: torch.Tensor
    states: object = None


def numbered(start, n, *shape):
    return torch.arange(start, start + n).reshape(n, *[1] * len(shape)).expand(n, *shape).float()


# Tensors -----------------------------------------------------------------------------------------


def test_joining_puts_batches_end_to_end():
    a, b = torch.arange(6).reshape(3, 2), torch.arange(6, 10).reshape(2, 2)
    assert join([a, b]).tolist() == torch.arange(10).reshape(5, 2).tolist()
    assert join([b, a]).tolist() != join([a, b]).tolist()


def test_numbers_are_stacked_one_for_each_batch():
    assert join([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert join([torch.tensor(1.0)]).shape == (1,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64, torch.bool, torch.uint8])
def test_dtypes_stay(dtype):
    joined = join([X.to(dtype), X.to(dtype)])
    assert (joined.dtype, joined.shape) == (dtype, (8, 2))


def test_batches_that_are_padded_differently_become_a_list_of_items():
    joined = join([numbered(0, 2, 5), numbered(2, 3, 7)])
    assert isinstance(joined, list)
    assert [tuple(item.shape) for item in joined] == [(5,), (5,), (7,), (7,), (7,)]
    assert [item[0].item() for item in joined] == [0, 1, 2, 3, 4]
    even = join([numbered(0, 2, 5), numbered(2, 3, 5)])  # the items are the same either way
    assert [item[0].item() for item in even] == [0, 1, 2, 3, 4]


def test_nested_tensors_become_one_of_all_items():
    one = torch.nested.nested_tensor([torch.ones(1, 2), torch.ones(3, 2)], layout=torch.jagged)
    two = torch.nested.nested_tensor([torch.zeros(2, 2)], layout=torch.jagged)
    joined = join([one, two])
    assert joined.layout == torch.jagged
    assert [len(item) for item in joined.unbind()] == [1, 3, 2]
    assert joined.unbind()[2].sum() == 0


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_nested_tensors_of_the_older_layout_stay_such():
    nested = torch.nested.nested_tensor([torch.ones(1, 2), torch.ones(3, 2)])
    assert [len(item) for item in join([nested, nested]).unbind()] == [1, 3, 1, 3]


def test_packed_sequences_become_one_of_all_items_in_their_order():
    items = [torch.full((n,), float(n)) for n in (2, 5, 1, 4, 3)]
    packed = [pack_sequence(part, enforce_sorted=False) for part in (items[:2], items[2:])]
    joined = unpack_sequence(join(packed))
    assert [item.tolist() for item in joined] == [item.tolist() for item in items]
    assert [len(item) for item in unpack_sequence(join(packed[::-1]))] == [1, 4, 3, 2, 5]


def test_sparse_tensors_are_put_end_to_end_where_torch_can():
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(join([sparse, sparse]).to_dense(), torch.eye(3).repeat(2, 1))


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant)")
def test_other_sparse_tensors_are_refused_in_words():
    match = r"^pred is a tensor of layout torch\.sparse_c.*Pick a dense one with select=.*to_dense"
    with pytest.raises(TypeError, match=match):
        join([torch.eye(3).to_sparse_csr()] * 2)
    with pytest.raises(TypeError, match=match):
        join([torch.eye(3).to_sparse(), X.to_sparse()])


# Containers --------------------------------------------------------------------------------------


def test_joining_keeps_the_nesting():
    joined = join([{"a": X, "b": (Y, [Y])}, {"a": X[:1], "b": (Y[:2], [Y[:3]])}])
    assert joined["a"].shape == (5, 2)
    assert isinstance(joined["b"], tuple)
    assert isinstance(joined["b"][1], list)
    assert [len(joined["b"][0]), len(joined["b"][1][0])] == [6, 7]


def test_classes_with_names_are_kept():
    assert join([Pair(X, Y), Pair(X, Y)]).label.shape == (8,)
    joined = join([Output(X, (Y, Y)), Output(X, (Y, Y))])
    assert type(joined) is Output
    assert joined.logits.shape == (8, 2)
    assert [len(state) for state in joined.states] == [8, 8]
    assert type(join([OrderedDict(a=X)] * 2)) is OrderedDict
    assert join([X.max(1), X.max(1)]).indices.shape == (8,)
    # also where there are as many fields as items
    assert join([Pair(X[:2], Y[:2])] * 3, [{2}] * 3).image.shape == (6, 2)


def test_the_order_of_the_keys_does_not_matter():
    joined = join([{"a": X, "b": Y}, {"b": Y + 1, "a": X}])
    assert joined["b"].tolist() == [0.0] * 4 + [1.0] * 4


def test_none_stays_and_anything_else_is_kept_once_for_each_batch():
    cache = object()
    assert join([None, None]) is None
    assert join([(X, None, 0.5, cache)] * 2)[1:] == (None, [0.5, 0.5], [cache, cache])
    assert join(["a", None]) == ["a", None]


# Lists: an entry for each item, or several outputs -----------------------------------------------


def detections(start, counts):
    return [{"boxes": numbered(start + i, 1, 4).repeat(n, 1)} for i, n in enumerate(counts)]


@pytest.mark.parametrize("as_made", [list, tuple])
@pytest.mark.parametrize(
    "entries",
    [
        lambda start, n: detections(start, range(n)),  # as detectors return them
        lambda start, n: [{"score": torch.tensor(start + i)} for i in range(n)],
        lambda start, n: list(numbered(start, n, 3)),
        lambda start, n: [f"item {start + i}" for i in range(n)],
        lambda start, n: [Output(t) for t in numbered(start, n, 5, 5)],
    ],
)
def test_entries_of_items_become_the_entries_of_all_items(entries, as_made):
    batches = [as_made(entries(start, 8)) for start in range(0, 64, 8)]
    joined = join(batches, [{8}] * 8)
    assert type(joined) is as_made
    assert len(joined) == 64
    assert all(joined[8 * i + j] is batches[i][j] for i in range(8) for j in range(8))


def test_without_a_known_size_a_list_of_unlike_entries_is_one_of_items():
    batches = [detections(0, range(8)), detections(8, range(8))]
    assert len(join(batches)) == 16
    assert len(join(batches, [set(), set()])) == 16
    assert [len(t) for t in join([[X, X], [X, X]])] == [8, 8]
    assert [len(t) for t in join([(X, Y), (X, Y)])] == [8, 8]


def test_lists_of_different_lengths_are_put_end_to_end_whatever_is_in_them():
    batches = [detections(0, [1, 8, 2]), detections(3, [3])]
    assert len(join(batches, [{9}, {9}])) == 4
    assert join([[], ["a"]]) == ["a"]
    assert join([[], []]) == []


@pytest.mark.parametrize(
    "outputs",
    [
        [X, X],
        (X, X, X, X),  # as many as items
        [{"logits": X, "boxes": X}] * 3,
        (X, torch.tensor(0.5), X, X),
        (torch.tensor(0.5),) * 4,
    ],
)
def test_several_outputs_are_joined_one_by_one(outputs):
    joined = join([outputs, outputs], [{4}, {4}])
    assert type(joined) is type(outputs)
    assert len(joined) == len(outputs)
    first = joined[0]["logits"] if isinstance(joined[0], dict) else joined[0]
    assert len(first) == (8 if any(isinstance(o, dict) or o.ndim for o in outputs) else 2)


@pytest.mark.parametrize("as_made", [list, tuple])
@pytest.mark.parametrize("kind", [lambda t: {"boxes": t}, Output])
def test_dicts_for_as_many_items_as_they_have_rows_are_one_for_each_item(kind, as_made):
    batches = [as_made(kind(t) for t in numbered(start, 4, 4, 2)) for start in (0, 4, 8)]
    joined = join(batches, [{4}] * 3)
    assert len(joined) == 12
    assert joined[5] is batches[1][1]
    assert len(join([list(batch[:3]) for batch in batches], [{4}] * 3)) == 3  # heads, the control


def test_a_list_that_may_be_either_is_taken_for_outputs_with_a_warning():
    either = [X, X, X, X]  # four outputs, or four items with four boxes each
    words = (
        r"^the prediction is a list of 4 for each batch of 4, and the tensors in it have the length"
        r" 4, too\. It may have an entry for each item; it is taken for 4 outputs, each of all "
        r"items\. If it is that, make it a tuple, e\.g\. with select=tuple; else make each "
    )
    with pytest.warns(UserWarning, match=words) as warned:
        joined = join([either, either], [{4}, {4}], "the prediction")
    assert len(warned) == 1
    assert [len(t) for t in joined] == [8, 8, 8, 8]
    assert len(join([tuple(either)] * 2, [{4}, {4}])) == 4
    assert len(join([[{"box": entry} for entry in either]] * 2, [{4}, {4}])) == 8
    assert len(join([[X[:1]], [X[:1]]], [{1}, {1}])) == 1  # one output of batches of one item
    assert len(join([either, [X[:3]] * 4], [{4}, {3}])) == 4  # the second decides
    assert len(join([either, [X[:3]] * 3], [{4}, {3}])) == 7


def test_a_recurrent_state_for_as_many_items_as_it_has_parts_is_no_list_of_items():
    state = (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))  # (layers, items, size)
    assert [tuple(t.shape) for t in join([state, state], [{2}, {2}])] == [(2, 2, 5)] * 2


def test_a_batch_of_another_size_decides_what_the_others_leave_open():
    entries = [torch.zeros(2, 3), torch.zeros(2, 3)]  # two items of two boxes, or two outputs
    with pytest.warns(UserWarning, match="It may have an entry for each item"):
        assert len(join([entries, entries], [{2}, {2}])) == 2
    assert len(join([entries, entries[:1]], [{2}, {1}])) == 3


@pytest.mark.parametrize(
    ("xb", "yb", "sizes"),
    [
        (X, None, {4}),
        ((X, torch.zeros(4, 9)), None, {4}),
        ([X, torch.zeros(7)], None, {4, 7}),
        ({"ids": X, "scale": 2.0}, None, {4}),
        (([torch.zeros(3, 5, 5), torch.zeros(3, 6, 6)],), None, {2}),
        ((["a", "b", "c"],), None, {3}),
        (pack_sequence([torch.zeros(3), torch.zeros(2)]), None, {2}),
        ((pack_sequence([torch.zeros(3), torch.zeros(2)]),), None, {2}),
        (object(), [{"boxes": X}] * 5, {5}),
        (object(), Y, {4}),
        (object(), None, set()),
        (torch.tensor(3.0), None, set()),
    ],
)
def test_input_or_target_tell_how_many_items_there_may_be(xb, yb, sizes):
    assert sizes_of(xb, yb) == sizes


# Different structures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "path", "one", "other"),
    [
        ([{"a": X}, {"a": X}, {"b": X}], "pred", r"\{a: \(4, 2\)", r"\{b: \(4, 2\)"),
        ([(X, Y), (X, Y), (X,)], "pred", r"\[\(4, 2\).*", r"\[\(4, 2\)"),
        ([{"a": (X, Y)}] * 2 + [{"a": (X, None)}], r"pred\['a'\]\[1\]", r"\(4,\)", "None"),
        ([Output(X, X)] * 2 + [Output(X, "text")], r"pred\.states", r"\(4, 2\)", "str"),
        ([X, X, {"a": X}], "pred", r"\(4, 2\)", r"\{a"),
        ([[X], [X], (X,)], "pred", r"\[\(4, 2\)", r"\[\(4, 2\)"),
        ([Pair(X, Y)] * 2 + [(X, Y)], "pred", r"\[", r"\["),
        ([X, X, X.to_sparse()], "pred", r"\(4, 2\)", r"\(4, 2\)"),
    ],
)
def test_a_batch_of_another_structure_is_named(batches, path, one, other):
    match = rf"^{path} is {one}.* in batch 0, but {other}.* in batch 2: .*same structure.*select="
    with pytest.raises(ValueError, match=match):
        join(batches)


def test_a_lost_dimension_is_explained():
    with pytest.raises(ValueError, match=r"in batch 1.*squeeze\(\) takes the dimension of a lone"):
        join([numbered(0, 4, 1).squeeze(), numbered(4, 1, 1).squeeze()])
    with pytest.raises(ValueError) as refused:
        join([{"a": X}, {"b": X}])
    assert "squeeze" not in str(refused.value)


def test_padding_them_alike_gives_one_tensor():
    items = join([numbered(0, 2, 5), numbered(2, 3, 7)])
    assert pad_sequence(items, batch_first=True).shape == (5, 7)


def test_a_list_of_inputs_of_different_sizes_has_an_entry_for_each_item():
    images = [torch.zeros(1, 5, 4), torch.zeros(1, 6, 4)]
    assert sizes_of((images,), None) == {2}
    assert sizes_of(([torch.zeros(1, 5)] * 2,), None) == {1, 2}
    found = [{"boxes": torch.zeros(1, 4)}, {"boxes": torch.zeros(1, 4)}]
    assert len(join([found, found], [{2}, {2}])) == 4
    assert len(join([found, found], [{1, 2}, {1, 2}])) == 2
    assert len(join([found[:1], found[:1]], [{1}, {1}])) == 2

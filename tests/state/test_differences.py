"""Where two snapshots differ, bit for bit."""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lehr.state.differences import first_difference

NAN = float("nan")
LONG = 2**40
SPARSE = torch.eye(2).to_sparse()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch says once that they are in beta
    ROWS, COLUMNS = SPARSE.to_sparse_csr(), SPARSE.to_sparse_csc()
LAZY = torch.nn.LazyLinear(1).weight


@dataclass
class Held:
    """Its own comparison would be of tensors, which have no truth value."""

    number: int
    tensors: tuple = (torch.zeros(2), torch.ones(2))


def copied(value):
    odd = isinstance(value, torch.Tensor) and value.layout is not torch.strided
    return value.clone() if odd else copy.deepcopy(value)  # torch's does not know them all


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (0.1, 0.2, "x: 0.1 against 0.2"),
        (1, 1.0, "x: 1 against 1.0"),
        (1, True, "x: 1 against True"),
        (None, 0, "x: None against 0"),
        ("a", "b", "x: 'a' against 'b'"),
        (NAN, 0.0, "x: nan against 0.0"),
        ([1, 2], [1, 3], "x[1]: 2 against 3"),
        ([1, 2], [1], "x: 2 items against 1"),
        ({"y": 1}, {}, "x.y: only in the first"),
        ({}, {"y": 1}, "x.y: only in the second"),
        ({"y": [{"z": 1}]}, {"y": [{"z": 2}]}, "x.y[0].z: 1 against 2"),
        ({}, [], "x: {} against []"),
        ({0: 1}, {0: 2}, "x.0: 1 against 2"),
        (torch.zeros(2), torch.zeros(3), "x: (2,) float32 against (3,) float32"),
        (torch.zeros(1), torch.zeros(1).double(), "x: (1,) float32 against (1,) float64"),
        (torch.zeros(3), torch.tensor([0, 2.0, -3]), "x: 2 of 3 values differ, by up to 3"),
        (torch.tensor(1), torch.tensor(LONG + 1), f"x: 1 of 1 values differ, by up to {LONG:g}"),
        (torch.tensor([True, True]), torch.tensor([True, False]), "x: 1 of 2 values differ, by "),
        (torch.tensor(0.0), torch.tensor(-0.0), "x: "),
        (torch.tensor(NAN), torch.tensor(0.0), "x: 1 of 1 values differ, by up to nan"),
        (torch.zeros(1).bfloat16(), torch.ones(1).bfloat16(), "x: 1 of 1 values differ, by up to"),
        ({1}, {2}, "x: {1} against {2}"),
        (np.zeros(2), np.zeros(3), "x: array"),
        (np.zeros(2), np.ones(2), "x: array"),
        (Held(1), Held(2), "x: Held"),
        (SPARSE, SPARSE * 2, "x.values: 2 of 2 values differ, by up to 1"),
        (ROWS, ROWS * 2, "x.values: 2 of 2"),
        (COLUMNS, (SPARSE * 2).to_sparse_csc(), "x.values: 2 of 2"),
        (SPARSE, torch.eye(2), "x: (2, 2) float32 sparse_coo against (2, 2) float32"),
        (LAZY, torch.zeros(1), "x: lazy float32 against (1,) float32"),
        (torch.zeros(1), [0.0], "x: tensor([0.]) against [0.0]"),
    ],
)
def test_the_first_difference_is_named_and_nothing_differs_from_its_copy(a, b, difference):
    assert first_difference({"x": a}, {"x": b}).startswith(difference)
    assert first_difference({"x": a}, {"x": copied(a)}) is None
    assert first_difference({"x": b}, {"x": copied(b)}) is None


def test_the_stride_of_a_dimension_of_one_is_no_matter():
    strided = torch.arange(2.0).as_strided((2, 1), (1, 32))  # as in weights in channels-last format
    assert first_difference(strided, torch.tensor([[0.0], [1.0]])) is None
    assert first_difference(strided, torch.tensor([[0.0], [2.0]])) is not None


def test_of_several_differences_the_first_is_named():
    assert first_difference({"a": 1, "b": 2, "c": 3}, {"c": 4, "b": 5, "a": 1}).startswith("b:")


def test_order_of_keys_strides_and_graphs_are_no_difference():
    t = torch.arange(6.0).reshape(2, 3)
    a = {"x": t.t().contiguous().t(), "y": 1}
    b = {"y": 1, "x": t.clone().requires_grad_()}
    assert a["x"].stride() != b["x"].stride()
    assert first_difference(a, b) is None
    assert first_difference({"x": torch.zeros(0, 3)}, {"x": torch.zeros(0, 3)}) is None


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (
            torch.tensor([float("nan"), 1]),
            torch.tensor([float("nan"), 2]),
            "1 of 2 values differ, by",
        ),
        (torch.tensor([0.0]), torch.tensor([-0.0]), "1 of 1 values differ, in their bits alone"),
        (torch.tensor([2**53]), torch.tensor([2**53 + 1]), "1 of 1 values differ, by up to 1"),
        (torch.tensor([1j]), torch.tensor([2j]), "1 of 1 values differ, by up to 1"),
        (torch.tensor([True]), torch.tensor([False]), "1 of 1 values differ, by up to 1"),
    ],
)
def test_the_size_of_a_difference_is_told_right(a, b, text):
    assert text in first_difference({"x": a}, {"x": b})


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_tensors_are_compared_by_their_numbers_and_their_scale():
    def quantized(scale):
        return torch.quantize_per_tensor(torch.ones(2), scale, 0, torch.qint8)

    def by_channel(scale):
        scales = torch.full((2,), scale)
        return torch.quantize_per_channel(
            torch.ones(2, 2), scales, torch.zeros(2, dtype=torch.long), 0, torch.qint8
        )

    for make in (quantized, by_channel):
        assert first_difference(make(0.5), make(0.5)) is None
        assert first_difference(make(0.5), make(0.25))


def test_objects_that_hold_themselves_are_never_the_same():
    one, other = Held(1), Held(1)
    one.number, other.number = one, other
    assert first_difference(one, other).startswith(": Held(number=")
    assert first_difference(one, one) is None


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ([1, "a", None, True], [1, "a", None, True], True),
        ((1, 2), [1, 2], True),
        ([1, 2], [1, 3], False),
        ([1], [True], False),
        ([1], [1.0], False),
        ([0.5, float("nan")], [0.5, float("nan")], True),
        ([], [], True),
    ],
)
def test_sequences_of_numbers_and_texts_are_compared_with_their_types(a, b, same):
    assert (first_difference(a, b) is None) is same


def test_conjugate_and_negative_views_are_compared_by_their_values():
    x = torch.tensor([1 + 2j, 3 - 1j])
    assert first_difference(x.conj(), x.conj()) is None
    assert first_difference(x.conj(), x.conj().resolve_conj()) is None
    assert "2 of 2 values differ" in first_difference(x.conj(), x)
    assert "2 of 2 values differ" in first_difference(x.conj().imag, x.imag)

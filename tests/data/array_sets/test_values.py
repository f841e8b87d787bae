import re

import numpy as np
import pytest
import torch

from lehr.data.array_sets.values import as_inputs, as_targets, check_finite, class_names


def test_finite():
    check_finite("x", torch.tensor([1, 2]))
    with pytest.raises(
        ValueError, match=r"x must hold finite numbers .*; 2 are not, the first in item 1"
    ):
        check_finite("x", torch.tensor([[0.0, 1], [1, torch.inf], [torch.nan, 0]]))
    with pytest.raises(ValueError, match=r"y must hold finite .* the first in item 2"):
        check_finite("y", torch.tensor([0, 0, torch.nan]))


@pytest.mark.parametrize("shape", [(5, 2), (5, 8, 8), (5, 3, 8, 8), (5, 7, 8, 9)])
def test_inputs(shape):
    assert as_inputs("x", np.zeros(shape)).shape == shape


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5,), "got (5,). Use x[:, None] for one feature."),
        ((0, 3), "got (0, 3). Reshape it."),
        ((1, 2, 3, 4, 5), "got (1, 2, 3, 4, 5)"),
        ((5, 32, 32, 3), "looks like channels last. Use torch.as_tensor(x).permute(0, 3, 1, 2)."),
    ],
)
def test_shapes_that_are_no_inputs(shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        as_inputs("x", torch.zeros(shape))


def test_inputs_are_finite():
    with pytest.raises(ValueError, match="x must hold finite numbers"):
        as_inputs("x", [[1.0, float("nan")]])


def test_targets():
    for kind in (torch.uint8, torch.int32, torch.bool):
        labels = as_targets("y", torch.tensor([1, 0], dtype=kind))
        assert (labels.tolist(), labels.dtype) == ([1, 0], torch.int64)
    numbers = as_targets("y", np.array([1.0, 0.0]))
    assert (numbers.tolist(), numbers.dtype) == ([[1], [0]], torch.float32)
    assert as_targets("y", torch.zeros(4, 3)).shape == (4, 3)


def test_targets_of_another_shape():
    with pytest.raises(ValueError, match=r"y must have shape \(n,\), one label .* y.squeeze\(1\)"):
        as_targets("y", torch.zeros(4, 1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"one label an item; got \(4, 2\)\. Numbers to predict"):
        as_targets("y", torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(
        ValueError, match=r"y must have shape \(n,\) or \(n, outputs\); got \(2, 2,"
    ):
        as_targets("y", torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match="y must hold finite numbers"):
        as_targets("y", [1.0, float("inf")])


def test_names():
    assert class_names(torch.tensor([2, 0, 1]), None) == ("0", "1", "2")
    assert class_names(torch.tensor([2, 0]), ["a", "b", "c"]) == ("a", "b", "c")
    assert class_names(torch.tensor([[0.5]]), None) == ()


@pytest.mark.parametrize("y", [[1, 2], [0, 2], [-1, 0]])
def test_labels_with_gaps(y):
    with pytest.raises(ValueError, match="y must hold every label from 0 to c-1; got the labels"):
        class_names(torch.tensor(y), None)


def test_a_single_label():
    with pytest.raises(ValueError, match="y must hold at least two different labels; got only 0"):
        class_names(torch.zeros(3).long(), None)
    assert class_names(torch.zeros(3).long(), ["a"]) == ("a",)


def test_names_that_do_not_fit():
    y = torch.tensor([0, 2])
    with pytest.raises(
        ValueError, match=r"y must hold labels from 0 to 1, .* 2 classes; got 0 to 2"
    ):
        class_names(y, ["a", "b"])
    with pytest.raises(ValueError, match="classes must be different names, at least one"):
        class_names(y, ["a", "b", "a"])
    with pytest.raises(TypeError, match="classes must be a list of texts; got 'abc'"):
        class_names(y, "abc")
    with pytest.raises(ValueError, match=r"classes are for whole numbers in y; got torch.float32"):
        class_names(y.float(), ["a", "b", "c"])

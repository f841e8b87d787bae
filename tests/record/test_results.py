"""What a metric may return, and the columns that this makes."""

import numpy as np
import pytest
import torch

from lehr.record.results import ColumnError, check_columns, columns_of


@pytest.mark.parametrize(
    ("result", "columns"),
    [
        (0.5, {"f1": 0.5}),
        (True, {"f1": True}),
        (torch.tensor([[2.0]]), {"f1": 2.0}),
        (np.float32(0.5), {"f1": 0.5}),
        (np.array(3), {"f1": 3}),
        (torch.tensor([1.0, 2.0]), {"f1_0": 1.0, "f1_1": 2.0}),
        (np.array([1, 2]), {"f1_0": 1, "f1_1": 2}),
        ((1, torch.tensor(2)), {"f1_0": 1, "f1_1": 2}),
        ({"MyF1": 1, "each": [2, 3]}, {"my_f1": 1, "each_0": 2, "each_1": 3}),
        ({"a": {"b": 1}}, {"a_b": 1}),
        ({}, {}),
    ],
)
def test_each_number_has_a_column(result, columns):
    assert columns_of("f1", result) == columns


def test_keys_follow_the_name_where_one_was_given():
    assert columns_of("f1", {"a": 1, "b": [2, 3]}, prefixed=True) == {
        "f1_a": 1,
        "f1_b_0": 2,
        "f1_b_1": 3,
    }


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (None, r"^metric 'f1' returned None; a metric returns .* Does it end with return\?"),
        ("good", r"^metric 'f1' returned 'good'; a metric returns a number, a vector, or a dict"),
        ([1, "x"], r"^metric 'f1_1' returned 'x'"),
        ({"a": None}, r"^metric 'a' returned None"),
        (object(), r"^metric 'f1' returned a object"),
    ],
)
def test_what_is_no_number_says_what_it_is(result, match):
    with pytest.raises(TypeError, match=match):
        columns_of("f1", result)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (torch.eye(2), r"a tensor of shape \(2, 2\)"),
        (np.eye(2), "a list of lists"),
        (torch.zeros(0, 2), r"a tensor of shape \(0, 2\)"),
    ],
)
def test_a_matrix_is_no_value(result, shown):
    with pytest.raises(TypeError, match=rf"^metric 'f1' returned {shown}; .*learn\.predict"):
        columns_of("f1", result)


def test_two_keys_that_make_one_name_are_refused():
    with pytest.raises(ValueError, match=r"^metric 'f1' returned two values for the column 'a'\."):
        columns_of("f1", {"A": 1, "a": 2})


def test_columns_are_each_of_one_metric_and_not_the_recorders():
    check_columns(["f1", "auc"])
    with pytest.raises(ValueError, match=r"must have different names; got \['f1', 'f1'\]\. Name "):
        check_columns(["f1", "f1"])
    with pytest.raises(ValueError, match="a metric cannot be named 'lr'"):
        check_columns(["lr"])
    check_columns(["f1", "kl_2"], ["kl"])
    for name in ("kl", "train_kl", "valid_kl"):
        with pytest.raises(ColumnError, match=rf"cannot be named '{name}': the part 'kl' of the l"):
            check_columns(["f1", name], ["rest", "kl"])

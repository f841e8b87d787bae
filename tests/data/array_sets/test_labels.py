"""Texts become labels, and their names the classes."""

import numpy as np
import pytest
import torch

from lehr import data
from lehr.data.array_sets.labels import numbered

X = torch.zeros(6, 2)


@pytest.mark.parametrize(
    "y", [["b", "a", "c"], np.array(["b", "a", "c"]), np.array(["b", "a", "c"], dtype=object)]
)
def test_texts_are_numbered_in_alphabetical_order(y):
    assert numbered([y], None) == ([[1, 0, 2]], ["a", "b", "c"])


def test_all_parts_are_numbered_alike():
    assert numbered([["b"], ["a"]], None) == ([[1], [0]], ["a", "b"])
    assert numbered([["b"], ["a"]], ["b", "a"]) == ([[0], [1]], ["b", "a"])


@pytest.mark.parametrize("y", [[1, 0], [0.5], torch.tensor([1]), [], ["a", 1], "ab", None])
def test_what_is_no_text_stays(y):
    assert numbered([y], None) == ([y], None)


def test_a_text_that_is_no_class_is_named():
    with pytest.raises(
        ValueError, match=r"y has the label 'cta', which is no class\. Use one of: cat, dog\."
    ):
        numbered([["cta"]], ["cat", "dog"])


def test_a_set_with_texts_is_trained_and_evaluated_alike(tmp_path):
    y = np.array(["dog", "cat"] * 3)
    np.savez(tmp_path / "a.npz", x=X.numpy(), y=y)
    bunch = data.open_data(tmp_path / "a.npz")
    assert (bunch.c, bunch.preparation.classes) == (2, ("cat", "dog"))
    again = data.arrays(
        X[:2], ["dog", "dog"], preparation=bunch.preparation, valid=(X[:1], ["cat"])
    )
    assert again.train_ds.y.tolist() == [1, 1]
    assert again.valid_ds.y.tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_one_hot_targets_are_refused_with_what_to_write(dtype):
    y = torch.eye(2, dtype=dtype).repeat(3, 1)
    with pytest.raises(ValueError, match=r"Give y\.argmax\(1\)\."):
        data.arrays(X, y)
    assert data.arrays(X, y.float() * 2).c is None  # numbers to predict

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lehr.data import collate


@dataclass
class Item:
    x: torch.Tensor


def test_the_lessons_batch():
    xb, yb = collate([(torch.zeros(784), torch.tensor(i)) for i in range(64)])
    assert (xb.shape, yb.shape) == ((64, 784), (64,))


def test_nested_structures():
    items = [
        {"x": (np.full(3, i), [float(i), f"name {i}"]), "y": i, "ok": bool(i)} for i in range(2)
    ]
    batch = collate(items)
    assert batch["x"][0].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert batch["x"][1][0].tolist() == [0.0, 1.0]
    assert list(batch["x"][1][1]) == ["name 0", "name 1"]
    assert batch["y"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("items", "told"),
    [
        (
            [(torch.zeros(2, 3), 1), (torch.zeros(2, 3), 1), (torch.zeros(2, 4), 1)],
            "item 2 has shape (2, 4) at [0] and item 0 has shape (2, 3)",
        ),
        ([np.zeros(2), np.zeros(3)], "item 1 has shape (3,) and item 0 has shape (2,)"),
        ([(1, 2), None], "item 1 has None and item 0 has 2 parts"),
        ([(1, 2), (1, 2, 3)], "item 1 has 3 parts and item 0 has 2 parts"),
        ([{"a": 1}, {"b": 1}], "item 1 has keys ['b'] and item 0 has keys ['a']"),
        (
            [{"x": [torch.zeros(1)]}, {"x": [torch.zeros(2)]}],
            "item 1 has shape (2,) at ['x'][0] and item 0 has shape (1,)",
        ),
    ],
)
def test_ragged_items(items, told):
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        collate(items)
    assert "Pass collate_fn= that pads them, or resize" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_what_is_no_structure_of_the_data_is_not_compared():
    """torch collates no dataclass, whatever is in it."""
    with pytest.raises(TypeError, match="must contain tensors"):
        collate([Item(torch.zeros(2)), Item(torch.zeros(3))])


def test_what_cannot_be_stacked():
    with pytest.raises(TypeError, match="must contain tensors"):
        collate([object(), object()])


def test_no_items():
    with pytest.raises(ValueError, match="collate needs at least one item; got none"):
        collate([])

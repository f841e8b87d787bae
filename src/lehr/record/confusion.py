"""What a confusion matrix says: int64 ``(c, c)``, items by true class (rows) and given class."""

from typing import cast

import torch
from torch import Tensor

Shares = list[float | None]
"""A share for each class; None where it would be one of nothing."""


def count(truth: Tensor, predicted: Tensor, c: int) -> Tensor:
    """The matrix of labels ``(items,)``; items whose true label is no class are left out.

    Example:
        >>> count(torch.tensor([0, 1, 1, -100]), torch.tensor([0, 0, 1, 1]), 2)
        tensor([[1, 0],
                [1, 1]])
    """
    known = (truth >= 0) & (truth < c)
    cells = torch.bincount(truth[known].long() * c + predicted[known].long(), minlength=c**2)
    return cells.reshape(c, c)


def accuracy(confusion: Tensor) -> float:
    """The share of items in their right class; 0 for no items."""
    return int(confusion.diagonal().sum()) / max(int(confusion.sum()), 1)


def precision(confusion: Tensor) -> Shares:
    """For each class, the share of what was given it that belongs there.

    Example:
        >>> precision(torch.tensor([[8, 2], [0, 10]]))
        [1.0, 0.8333333333333334]
    """
    return _shares(confusion, 0)


def recall(confusion: Tensor) -> Shares:
    """For each class, the share of its items that were found.

    Example:
        >>> recall(torch.tensor([[8, 2], [0, 0]]))
        [0.8, None]
    """
    return _shares(confusion, 1)


def f1(confusion: Tensor) -> Shares:
    """For each class, the harmonic mean of precision and recall: 2 hits / (given + items).

    Example:
        >>> f1(torch.tensor([[8, 2], [2, 8]])), f1(torch.tensor([[5, 0], [0, 0]]))
        ([0.8, 0.8], [1.0, None])
    """
    both = cast("list[int]", (confusion.sum(0) + confusion.sum(1)).tolist())
    right = cast("list[int]", confusion.diagonal().tolist())
    return [2 * hit / total if total else None for hit, total in zip(right, both, strict=True)]


def macro_f1(confusion: Tensor) -> float | None:
    """The mean of `f1` over the classes that there are; None if there are none."""
    known = [value for value in f1(confusion) if value is not None]
    return sum(known) / len(known) if known else None


def majority(confusion: Tensor) -> tuple[int, float]:
    """The commonest class, and the accuracy of always giving that one.

    Example:
        >>> majority(torch.tensor([[1, 4], [10, 5]]))
        (1, 0.75)
    """
    totals = confusion.sum(1)
    label = int(totals.argmax())
    return label, int(totals[label]) / max(int(totals.sum()), 1)


def most_confused(confusion: Tensor, k: int) -> list[tuple[int, int, int]]:
    """The ``k`` commonest errors: label, prediction, and how many items.

    Example:
        >>> most_confused(torch.tensor([[8, 2], [1, 9]]), 1)
        [(0, 1, 2)]
    """
    wrong = confusion.clone().fill_diagonal_(0)
    pairs = cast("list[list[int]]", wrong.nonzero().tolist())
    counted = [(label, guess, int(wrong[label, guess])) for label, guess in pairs]
    return sorted(counted, key=lambda error: -error[2])[:k]


def _shares(confusion: Tensor, dim: int) -> Shares:
    totals = cast("list[int]", confusion.sum(dim).tolist())
    right = cast("list[int]", confusion.diagonal().tolist())
    return [hit / total if total else None for hit, total in zip(right, totals, strict=True)]

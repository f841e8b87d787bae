"""A classifier's errors for a reader: confusion matrix, classes, worst mistakes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup

from lehr.report.evaluation import Evaluation, Mistake
from lehr.report.render import part
from lehr.report.words import percent

MOST_NUMBERS = 25
"""With more classes, the matrix is drawn without numbers."""

MOST_CELLS = 100
"""With more classes, the matrix is not drawn at all."""


class Cell(NamedTuple):
    """One cell of a confusion matrix."""

    truth: str
    """the class that its items have"""
    given: str
    """the class that they were given"""
    items: int
    """how many they are"""
    shade: float
    """how dark it is, 0 to 1"""
    kind: Literal["hit", "miss"]
    """whether the two are one class"""


def matrix(evaluation: Evaluation) -> Markup | None:
    """The confusion matrix: with numbers, as a map, or None where there are too many classes."""
    names = evaluation.classes
    if len(names) > MOST_CELLS:
        return None
    if len(names) > MOST_NUMBERS:
        return part("classes.html", "map", _cells(evaluation))
    upright = max(map(len, names)) > 3 and len(names) > 4
    return part("classes.html", "matrix", names, _cells(evaluation), upright)


def shade(count: int, total: int) -> float:
    """How dark a cell is, by its share of the row: rare errors stay visible.

    Example:
        >>> shade(0, 10), round(shade(1, 100), 3), shade(10, 10)
        (0.0, 0.199, 1.0)
    """
    return 0.11 + 0.89 * (count / total) ** 0.5 if count and count < total else float(count > 0)


def _cells(evaluation: Evaluation) -> list[list[Cell]]:
    names = evaluation.classes
    return [
        [
            Cell(truth, given, items, shade(items, total), "hit" if i == j else "miss")
            for j, (given, items) in enumerate(zip(names, counts, strict=True))
        ]
        for i, (truth, counts, total) in enumerate(
            zip(names, evaluation.counts(), evaluation.totals(), strict=True)
        )
    ]


def confused_pairs(evaluation: Evaluation, k: int = 12) -> Markup | None:
    """The commonest errors as a table; None if there are no errors."""
    names, totals = evaluation.classes, evaluation.totals()
    rows = [
        (f"{names[truth]} → {names[guess]}", f"{count:,}", percent(count / totals[truth]))
        for truth, guess, count in evaluation.most_confused(k)
    ]
    return part("classes.html", "confused_pairs", rows) if rows else None


def class_table(evaluation: Evaluation) -> Markup:
    """Precision, recall and F1 of each class; folded where there are many."""
    names, items = evaluation.classes, evaluation.totals()
    measured = evaluation.precision(), evaluation.recall(), evaluation.f1()
    rows = [
        (name, f"{n:,}", *map(percent, shares))
        for name, n, *shares in zip(names, items, *measured, strict=True)
    ]
    return part("classes.html", "class_table", rows, fold=len(rows) > MOST_NUMBERS)


def mistakes(evaluation: Evaluation) -> Markup | None:
    """The worst mistakes as a grid of pictures, or of words; None if there are none."""
    worst = evaluation.mistakes
    if not worst:
        return None
    return part("classes.html", "mistakes", worst, evaluation.classes, _pictured(worst))


def right(evaluation: Evaluation) -> Markup | None:
    """For each class an item that was put into it rightly; None if there are none."""
    items = evaluation.right
    if not items:
        return None
    return part("classes.html", "right", items, evaluation.classes, _pictured(items))


def _pictured(items: Sequence[Mistake]) -> bool:
    return any(item.picture is not None for item in items)

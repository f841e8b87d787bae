"""Numbers by column and batch, as a service keeps them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """One number of one column."""

    at: int
    """the training batch, counted from 0; for a row, the last one before it"""
    name: str
    """the column"""
    value: float
    """may be nan or infinite"""


def later(points: Sequence[Point], last: Mapping[str, int]) -> tuple[list[Point], dict[str, int]]:
    """The points that are later than the last of their column, and the last ones then.

    Args:
        points: in the order of their batches.
        last: the last batch by column; under ``""`` that of all columns.

    Example:
        >>> later([Point(3, "loss", 0.5), Point(4, "loss", 0.4)], {"loss": 3})
        ([Point(at=4, name='loss', value=0.4)], {'loss': 4})
    """
    now, new = dict(last), list[Point]()
    for point in points:
        if point.at > max(now.get(point.name, -1), last.get("", -1)):
            now[point.name] = point.at
            new.append(point)
    return new, now

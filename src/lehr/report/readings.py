"""Values of a plot at some places: what a pointer shows, and the arrow keys."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from lehr.base.numbers import plain

MOST = 48
"""Places in a plot: they are about as far apart as a pointer can be led to."""
_FEW = 24  # points of a line, all of which are places
_LINES = 12  # in a plot: the words of more have no room in it


class Readable(Protocol):
    """A line, as `lehr.report.plots.Line` is one."""

    @property
    def label(self) -> str:
        """What it shows."""
        ...

    @property
    def x(self) -> Sequence[float]:
        """Where."""
        ...

    @property
    def y(self) -> Sequence[float]:
        """How much."""
        ...

    @property
    def kind(self) -> Literal["raw", "line", "points", "dots", "steps"]:
        """How it is drawn."""
        ...


class Reading(NamedTuple):
    """What the lines of a plot say at one place."""

    x: float
    values: tuple[tuple[int, float], ...]
    """number of the line, and its value there; lines without a point there are left out"""

    def words(self, lines: Sequence[Readable], xlabel: str) -> list[str]:
        """The place and the values, each with its name.

        Args:
            lines: those that were read.
            xlabel: the name of the horizontal axis.
        """
        return [
            f"{xlabel} {plain(self.x)}",
            *(f"{lines[i].label} {plain(v)}" for i, v in self.values),
        ]


def readings(lines: Sequence[Readable], most: int = MOST) -> list[Reading]:
    """Places to read a plot at, from left to right: every point of lines that have few.

    Between them come points of the line that has most, spread evenly over it. A value is always
    that of a point; none is made up between two.

    Args:
        lines: of the plot. One of kind ``"dots"`` is a cloud, which has no reading; nor have more
            than 12 lines.
        most: how many places.

    Example:
        >>> from lehr.report.plots import Line
        >>> made = readings([Line("loss", [0, 1, 2], [4.0, 2.0, 1.0]), Line("valid", [2], [1.5])])
        >>> made[0], made[-1]
        (Reading(x=0, values=((0, 4.0),)), Reading(x=2, values=((0, 1.0), (1, 1.5))))
    """
    points = [_points(line) for line in lines]
    cloud = len(lines) > _LINES or any(line.kind == "dots" for line in lines)
    if cloud or not any(points):
        return []
    few = _spread(sorted({x for known in points if len(known) <= _FEW for x, _ in known}), most)
    dense = max(points, key=len)
    if len(dense) > _FEW:
        few += _spread([x for x, _ in dense], most - len(few))
    places = sorted(set(few))
    near = (places[-1] - places[0]) / len(places)
    return [
        Reading(x, tuple((i, y) for i, known in enumerate(points) for y in _at(known, x, near)))
        for x in places
    ]


def _points(line: Readable) -> list[tuple[float, float]]:
    return sorted((x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y))


def _spread(values: Sequence[float], most: int) -> list[float]:
    """At most so many of them, from the first to the last."""
    if len(values) <= most:
        return list(values)
    return [values[i * (len(values) - 1) // (most - 1)] for i in range(most)] if most > 1 else []


def _at(known: Sequence[tuple[float, float]], x: float, near: float) -> Iterable[float]:
    """The value of the point at ``x``; of a line with many, of that which is next to it."""
    i = bisect_left(known, (x, -math.inf))
    beside = known[max(i - 1, 0) : i + 1]
    if not beside:
        return ()
    place, y = min(beside, key=lambda point: abs(point[0] - x))
    return (y,) if abs(place - x) <= (near if len(known) > _FEW else 0) else ()

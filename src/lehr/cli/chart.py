"""A curve in a terminal, drawn with braille dots: two by four in a character."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column, then row


def chart(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    width: int = 64,
    height: int = 12,
    log_x: bool = False,
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw ``ys`` over ``xs``, with the ends of both axes.

    Args:
        xs: rising; above 0 for ``log_x``.
        ys: as many; those that are not finite, or outside ``limits``, are left out.
        width: of the drawing, in characters.
        height: of the drawing, in lines.
        log_x: logarithmic horizontal axis.
        limits: lowest and highest value shown; None shows all.

    Example:
        >>> print(chart([0, 1, 2, 3], [0, 1, 2, 3], width=4, height=2))
        3 ┤⠀⠀⡠⠊
        0 ┤⡠⠊⠀⠀
           0  3
    """
    finite = [y for y in ys if math.isfinite(y)]
    low, high = limits or (min(finite), max(finite))
    places = [math.log(x) if log_x else float(x) for x in xs]
    points = [
        (_place(x, places[0], places[-1], 2 * width), y)
        for x, y in zip(places, ys, strict=True)
        if math.isfinite(y)
    ]
    cells = [[0] * width for _ in range(height)]
    before = None
    for column, y in _columns(points):
        here = _place(y, low, high, 4 * height) if low <= y <= high else None
        for up in _rise(before, here):
            row = 4 * height - 1 - up
            cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
        before = here
    return "\n".join(_framed(cells, (low, high), (xs[0], xs[-1])))


def _columns(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """Every column that the line through the points crosses, and its height there."""
    for (left, a), (right, b) in pairwise(points):
        for column in range(left, right):
            yield column, a + (b - a) * (column - left) / (right - left)
    yield points[-1]


def _rise(before: int | None, here: int | None) -> range:
    """The dots of one column: its own, and those that join it to the column before."""
    if here is None:
        return range(0)
    if before is None or abs(here - before) <= 1:
        return range(here, here + 1)
    return range(before + 1, here + 1) if before < here else range(here, before)


def _place(value: float, low: float, high: float, places: int) -> int:
    """Which of so many places from ``low`` to ``high`` a value falls into."""
    share = (value - low) / (high - low) if high > low else 0.5
    return min(int(share * places), places - 1)


def _framed(cells: list[list[int]], ys: tuple[float, float], xs: tuple[float, float]) -> list[str]:
    labels = [""] * len(cells)
    labels[0], labels[-1] = f"{ys[1]:.3g}", f"{ys[0]:.3g}"
    margin = max(map(len, labels))
    lines = [
        f"{label:>{margin}} ┤{''.join(chr(0x2800 + dots) for dots in row)}"
        for label, row in zip(labels, cells, strict=True)
    ]
    left, right = f"{xs[0]:.3g}", f"{xs[1]:.3g}"
    return [*lines, f"{'':{margin}}  {left}{right:>{len(cells[0]) - len(left)}}"]

"""Figures that behave: drawn into the caller's axes if there are some, shown once in a notebook."""

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lehr.base.files import save_file
from lehr.base.notebook import in_notebook, ipython_shell

_POINTS = 72  # to the inch
_ROOM = 3.0  # points around everything
_LARGEST, _SMALLEST = 1e100, 1e-100  # beyond them, the arithmetic of axes breaks down


def axes(ax: Any = None, *, size: tuple[float, float] = (6, 3.5)) -> Any:
    """``ax`` itself, or the axes of a new figure, as `panels` makes it.

    Args:
        ax: matplotlib axes, or None.
        size: width and height of a new figure, in inches.

    Returns:
        Matplotlib axes; the figure is their ``figure``.

    Example:
        >>> axes().figure.get_size_inches().tolist()
        [6.0, 3.5]
    """
    return panels(1, size=size)[0] if ax is None else ax


def panels(count: int, *, size: tuple[float, float], stacked: bool = False) -> list[Any]:
    """Axes side by side, or one above the other, in a new figure of pyplot's.

    A notebook shows the figure once, when the cell ends, wherever in the cell it was drawn;
    elsewhere it waits for ``plt.show()``.

    Args:
        count: how many.
        size: width and height of the figure, in inches.
        stacked: one above the other; the last is half as high as the others.

    Example:
        >>> len(panels(2, size=(8, 3)))
        2
    """
    import matplotlib.pyplot as plt

    rows, heights = (count, [*[2] * (count - 1), 1]) if stacked else (1, None)
    figure, grid = plt.subplots(
        rows,
        count // rows,
        figsize=size,
        layout="constrained",
        squeeze=False,
        height_ratios=heights,
    )
    if in_notebook():
        plt.close(figure)  # pyplot would show it beside a result that is the same figure
        _show_after_cell(figure)
    return list(grid.flat)


def _show_after_cell(figure: Any) -> None:
    """Show a figure when the cell of the notebook ends, unless it is the cell's result."""
    events = ipython_shell().events

    def show(cell: Any) -> None:
        events.unregister("post_run_cell", show)
        if cell.result is not figure:
            from IPython.display import display  # type: ignore[reportUnknownVariableType]

            display(figure)

    events.register("post_run_cell", show)


def fit(ax: Any) -> None:
    """Give axes all of their figure that their labels leave.

    It looks as ``layout="constrained"`` does, which draws everything three times to find out how
    large the labels are. Here only their texts are measured.

    Args:
        ax: matplotlib axes that are alone in a figure without a layout, and have no title. All must
            be there that their limits and labels depend on.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(4, 2)).subplots()
        >>> fit(ax)
        >>> narrow = ax.get_position().x0
        >>> ax.set_ylabel("loss").get_text()
        'loss'
        >>> fit(ax)
        >>> bool(0 < narrow < ax.get_position().x0 < 0.3)
        True
    """
    width, height = (_POINTS * inches for inches in ax.figure.get_size_inches())
    line = _extent("lp", ax.yaxis)[1]
    below = _ROOM + _beside_ticks(ax.xaxis) + line
    above = _ROOM + (line + _ROOM if _ticks(ax.yaxis)[1] else line / 2)
    # The height is set first: how many ticks the vertical axis has depends on it.
    ax.figure.subplots_adjust(bottom=below / height, top=1 - above / height)
    widest = max((_extent(text, ax.yaxis)[0] for _, text in _ticks(ax.yaxis)[0]), default=0.0)
    left, right = _ROOM + _beside_ticks(ax.yaxis) + widest, _ROOM
    for place, text in _ticks(ax.xaxis)[0]:
        share = ax.transLimits.transform(ax.transScale.transform((place, 1.0)))[0]
        if share <= 1:
            # half of the text may lie beyond the end of its axis
            beyond = _extent(text, ax.xaxis)[0] / 2 - (1 - share) * (width - left - right)
            right = max(right, _ROOM + beyond)
    ax.figure.subplots_adjust(left=left / width, right=1 - right / width)


def _ticks(axis: Any) -> tuple[list[tuple[float, str]], str]:
    """Where the ticks of an axis are and what they say, and what they have in common."""
    low, high = sorted(axis.get_view_interval())
    found: list[tuple[float, str]] = []
    for kind in (axis.minor, axis.major):
        places = kind.locator()
        texts = kind.formatter.format_ticks(places)
        found += [pair for pair in zip(places, texts, strict=True) if low <= pair[0] <= high]
    return found, axis.major.formatter.get_offset()


def _beside_ticks(axis: Any) -> float:
    """How far the label of an axis and its ticks reach, in points, without what the ticks say."""
    import matplotlib as mpl

    style: Any = mpl.rcParams
    label, own = axis.label.get_text(), axis.axis_name
    ticks = style[f"{own}tick.major.size"] + style[f"{own}tick.major.pad"]
    return ticks + (axis.labelpad + _extent("lp", axis.label)[1] if label else 0.0)


def _extent(text: str, like: Any) -> tuple[float, float]:
    """Width and height of a text in points, in the font of a label or of an axis's ticks."""
    from matplotlib.cbook import is_math_text
    from matplotlib.textpath import TextToPath

    font = (like.get_offset_text() if hasattr(like, "axis_name") else like).get_fontproperties()
    is_math = is_math_text(text)
    text = text if is_math else text.replace(r"\$", "$")
    return TextToPath().get_text_width_height_descent(text, font, is_math)[:2]


def drawable(values: Iterable[float]) -> list[float]:
    """Numbers that any axis can show: a gap for what is infinite, or too large to be drawn.

    What is beyond 1e100 becomes nan, what is closer to 0 than 1e-100 becomes 0.

    Example:
        >>> drawable([0.5, float("inf"), 1e200, 1e-320, -2])
        [0.5, nan, nan, 0.0, -2.0]
    """
    return [_drawable(float(value)) for value in values]


def _drawable(value: float) -> float:
    size = abs(value)
    if not size <= _LARGEST:
        return math.nan
    return value if size >= _SMALLEST else 0.0


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure to a file, whole or not at all; the ending decides the format.

    Raises:
        ValueError: matplotlib knows no such format.
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "plot.svg")
        ...     save_figure(axes().figure, path)
        ...     "</svg>" in path.read_text(encoding="utf-8")
        True
    """
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix[1:].lower() or None)
    save_file(path, file.getvalue())

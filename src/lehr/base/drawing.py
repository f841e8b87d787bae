"""Figures that behave: drawn into the caller's axes if there are some, shown once in a notebook."""

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lehr.base.files import save_file
from lehr.base.notebook import in_notebook, ipython_shell

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

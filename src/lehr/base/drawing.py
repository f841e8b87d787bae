"""Figures that behave: drawn into the caller's axes if there are some, shown once in a notebook."""

from typing import Any

from lehr.base.notebook import in_notebook


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


def panels(count: int, *, size: tuple[float, float]) -> list[Any]:
    """Axes side by side in a new figure of pyplot's.

    In a notebook the figure is taken off pyplot's list at once, so that a cell that ends in it
    shows it once and not twice; elsewhere it waits for ``plt.show()``.

    Args:
        count: how many.
        size: width and height of the figure, in inches.

    Example:
        >>> len(panels(2, size=(8, 3)))
        2
    """
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)
    if in_notebook():
        plt.close(figure)
    return list(grid[0])

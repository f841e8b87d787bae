"""The mean and deviation of each feature or channel, a piece of the data at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lehr.base.numbers import plain

_PIECE = 2**17  # numbers; a megabyte stays in a core's cache


def pieces(x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """``x`` in pieces of some items, each a copy in double precision, with where it stands.

    Example:
        >>> [(where.start, len(piece)) for where, piece in pieces(torch.zeros(200, 1000))]
        [(0, 131), (131, 69)]
    """
    size = max(1, _PIECE * len(x) // max(1, x.numel()))
    for start in range(0, len(x), size):
        where = slice(start, min(start + size, len(x)))
        yield where, x[where].to(torch.float64, copy=True)


def mean_and_std(x: Tensor, white: float = 1.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each entry of the second dimension, over all the others.

    The deviation is that of a sample, with ``n - 1``, as for images. A feature that never changes
    has the deviation 1, so that nothing is divided by 0.

    Args:
        x: ``(n, features)``, or ``(n, channels, height, width)``; any number type.
        white: what the numbers are divided by first.

    Returns:
        As many means and deviations as there are features or channels.

    Example:
        >>> mean_and_std(torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]))
        ((2.0, 7.0), (1.0, 1.0))
    """
    others = [0, *range(2, x.ndim)]
    count = x.numel() // x.shape[1]
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    for _, piece in pieces(x):
        total += piece.sum(others)
    mean = total / count
    squares = torch.zeros_like(total)
    for _, piece in pieces(x):
        squares += piece.sub_(mean.view(-1, *[1] * (x.ndim - 2))).square_().sum(others)
    std = (squares / max(count - 1, 1)).sqrt() / white
    moves = std > 1e-12 * mean.abs() / white  # what is left of rounding is no change
    std = torch.where(moves & (std > 0), std, torch.ones_like(std))
    return tuple(map(float, mean / white)), tuple(map(float, std))


def undone(x: float, mean: float, std: float) -> str:
    """The number that became ``x``, in four digits and without what rounding left of a zero.

    Example:
        >>> undone(-1.0000001, 5.0, 5.0), undone(0.5, 5.0, 2.0)
        ('0', '6')
    """
    unit = 1e-6 * max(abs(mean), std)
    return plain(round((x * std + mean) / unit) * unit)

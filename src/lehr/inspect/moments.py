"""What a tensor of activations or gradients says about the signal it carries."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

_BINS = 80
_REACH = 4.0
EDGES = [_REACH * (2 * i / _BINS - 1) for i in range(_BINS + 1)]
"""Of every histogram, so that layers can be compared; what lies outside is in the end bins."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one tensor.

    Attributes:
        mean: over all numbers.
        std: over all numbers.
        across: the standard deviation of each unit across the items of the batch, as root of the
            mean square over units. A bias adds to ``std`` and not to this.
        norm: length of one item's part, as root of the mean square over items.
        size: numbers in one item's part.
        finite: whether all numbers are.
    """

    mean: float
    std: float
    across: float
    norm: float
    size: int
    finite: bool


def moments(values: Tensor, items: int) -> Moments:
    """Measure a tensor in which ``items`` items lie along the first dimension, or the second.

    A first dimension that is a multiple of ``items`` holds parts of items in turn. Half precision
    is measured in single, and a complex number as the two real ones that it is.

    Example:
        >>> seen = moments(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), items=2)
        >>> seen.mean, seen.across == 0.5**0.5
        (3.5, True)
    """
    flat = by_item(real(values.detach()), items)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    if not flat.numel():
        return Moments(math.nan, math.nan, math.nan, 0.0, 0, finite=True)
    total = flat.square().sum().item()
    mean = flat.mean().item()
    variance = flat.var(0, correction=0).mean().item()
    return Moments(
        mean=mean,
        std=flat.std(correction=0).item(),
        across=math.sqrt(variance) if variance >= 0 else variance,
        norm=math.sqrt(total / len(flat)) if total >= 0 else total,
        size=flat.shape[1],
        finite=bool(torch.isfinite(flat).all()),
    )


def real(values: Tensor) -> Tensor:
    """The same numbers, where each complex one is two: ``(..., 2)``.

    Example:
        >>> real(torch.tensor([1 + 2j]))
        tensor([[1., 2.]])
    """
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def by_item(values: Tensor, items: int) -> Tensor:
    """The same numbers as ``(items, numbers of one)``; as they lie if no dimension fits.

    Example:
        >>> by_item(torch.zeros(7, 4, 3), items=4).shape
        torch.Size([4, 21])
    """
    if values.shape[0] != items and values.ndim > 1 and values.shape[1] == items:
        values = values.transpose(0, 1)
    elif values.shape[0] % items == 0:
        return values.reshape(items, -1)
    return values.reshape(len(values), -1)


def dead_share(values: Tensor, *, channels_last: bool) -> float:
    """Share of units that are zero for every item at every place.

    Args:
        values: what a rectifier gave, ``(batch, channels, ...)`` or ``(batch, ..., channels)``.
        channels_last: which of the two.

    Example:
        >>> dead_share(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), channels_last=False)
        0.5
    """
    at = -1 if channels_last else min(1, values.ndim - 1)
    alive = (values.detach() != 0).transpose(0, at).reshape(values.shape[at], -1).any(1)
    return 1.0 - alive.float().mean().item()


def histogram(values: Tensor) -> list[int]:
    """How many of the numbers lie between each two of `EDGES`.

    Example:
        >>> sum(histogram(torch.tensor([-100.0, 0.0, 0.5])))
        3
    """
    inside = real(values.detach()).float().nan_to_num(0.0).clamp(-_REACH, _REACH)
    return cast("list[int]", torch.histc(inside, _BINS, -_REACH, _REACH).long().tolist())

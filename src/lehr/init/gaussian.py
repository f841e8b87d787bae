"""Means over a Gaussian, to the last digits: what an activation does to mean and variance."""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lehr.errors import real_number

Activation = Callable[[Tensor], Tensor]
"""A function of each element of a tensor, such as ``torch.relu``."""

_REACH = 12.0  # standard deviations on each side; what lies beyond weighs less than 1e-31
_NODES = 16  # of each panel, which is at most one standard deviation wide


class Moments(NamedTuple):
    """Mean and variance of a random number.

    Example:
        >>> Moments(0.0, 1.0).var
        1.0
    """

    mean: float
    var: float


def expectation(f: Activation, mean: float = 0.0, var: float = 1.0) -> float:
    """E f(x) for x ~ N(mean, var), by Gauss–Legendre quadrature in float64.

    Activations have a kink at zero, where a Gauss–Hermite rule loses its digits; here zero is
    always the border of two panels. Elsewhere ``f`` should be smooth, though for var ≈ 1 the
    whole numbers are borders as well.

    Args:
        f: maps a float64 tensor to one of the same shape.
        mean: mean of x.
        var: variance of x, positive.

    Returns:
        The expectation, to about 1e-14 of its size.

    Raises:
        TypeError: ``mean`` or ``var`` is no number.
        ValueError: ``var`` is not positive.

    Example:
        >>> round(expectation(torch.relu), 6), round(expectation(torch.square, 3.0, 4.0), 6)
        (0.398942, 13.0)
    """
    mean, var = real_number("mean", mean), real_number("var", var)
    if var <= 0:
        raise ValueError(f"var must be positive; got {var}. Give a variance such as 1.0.")
    std = math.sqrt(var)
    width = 2.0 ** math.floor(math.log2(std))
    first = math.floor((mean - _REACH * std) / width)
    last = math.ceil((mean + _REACH * std) / width)
    left = width * torch.arange(first, last, dtype=torch.float64)
    nodes, weights = _gauss_legendre(_NODES)
    x = (left[:, None] + width * (nodes + 1) / 2).flatten()
    density = torch.exp(-((x - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)
    weights = (width / 2 * weights).repeat(len(left))
    with torch.no_grad():
        values = f(x.clone())  # a copy, for functions that write in place
    return float((values * density * weights).sum())


def moments_after(f: Activation, mean: float = 0.0, var: float = 1.0) -> Moments:
    """Mean and variance of f(x) for x ~ N(mean, var).

    Args:
        f: an activation.
        mean: mean of x.
        var: variance of x, positive.

    Returns:
        The moments of what the activation hands on.

    Raises:
        TypeError: ``mean`` or ``var`` is no number.
        ValueError: ``var`` is not positive.

    Example:
        >>> moments = moments_after(torch.selu)
        >>> round(abs(moments.mean), 10), round(moments.var, 10)
        (0.0, 1.0)

    Reference:
        Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017,
        equations 3 to 5, which give the same map for SELU in closed form.
    """
    centre = expectation(f, mean, var)
    return Moments(centre, expectation(lambda x: (f(x) - centre) ** 2, mean, var))


def _gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1]: eigenvalues of the Legendre recurrence (Golub and Welsch)."""
    k = torch.arange(1, count, dtype=torch.float64)
    beside = torch.diag(k / torch.sqrt(4 * k**2 - 1), 1)
    nodes, vectors = cast(tuple[Tensor, Tensor], torch.linalg.eigh(beside + beside.T))
    return nodes, 2 * vectors[0] ** 2

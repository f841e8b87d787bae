"""Numbers as people write them."""

import math
from collections.abc import Iterable

from torch import Tensor


def plain(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, without an exponent where people use none.

    From 1e15 on, and below 1e-5, the exponent stays.

    Example:
        >>> plain(14870.4), plain(0.000123456), plain(2.0), plain(-1234567.8)
        ('14,870', '0.0001235', '2', '-1,234,568')
        >>> plain(3e20), plain(float("nan"))
        ('3e+20', 'nan')
    """
    size = abs(value)
    if not math.isfinite(value) or size >= 1e15 or 0 < size < 1e-5:
        return f"{value:.{digits}g}"
    if size == 0:
        before = 1
    elif size < 1:
        before = 1 - math.ceil(-math.log10(size))  # the zeros after the point take none
    else:
        before = len(f"{size:.0f}")
    text = f"{value:,.{max(digits - before, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def not_finite(tensors: Iterable[Tensor]) -> str:
    """How many numbers of all tensors are nan or infinite, in words; empty if none is.

    Example:
        >>> import torch
        >>> not_finite([torch.tensor([0.0, torch.nan, -torch.inf]), torch.zeros(5)])
        '1 nan and 1 inf of 8 numbers'
    """
    nan = inf = total = 0
    for tensor in tensors:
        total += tensor.numel()
        if tensor.is_floating_point() or tensor.is_complex():
            nan += int(tensor.detach().isnan().sum())
            inf += int(tensor.detach().isinf().sum())
    counted = [f"{number} {name}" for number, name in ((nan, "nan"), (inf, "inf")) if number]
    return f"{' and '.join(counted)} of {total:,} numbers" if counted else ""

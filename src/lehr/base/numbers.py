"""Numbers as people write them."""

import math


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

"""Curves one after another: how they share a fit, and what the whole of them is."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Curve = Callable[[float], float]  # what a phase may be: a Schedule, or any function of the position


def in_turn(shares: Sequence[float], curves: Sequence[Curve]) -> Curve:
    """One curve after another; each runs from its own 0 to its own 1 over its share.

    Where two meet, the value is the start of the later one. A position that is nearer than 1e-12 to
    such a place counts as there, since n_steps / planned_steps may miss it in the last bit.

    Args:
        shares: above 0, and together 1.
        curves: as many.

    Example:
        >>> f = in_turn([0.25, 0.75], [lambda pos: pos, lambda pos: 1 - pos])
        >>> f(0.125), f(0.25), f(1)
        (0.5, 1.0, 0.0)
    """
    starts = [math.fsum(shares[:i]) for i in range(len(shares))]
    near = min(1e-12, min(shares) / 4)

    def at(pos: float) -> float:
        if pos == 1.0:
            return curves[-1](1.0)
        i = bisect_right(starts, pos + near) - 1
        done = pos - starts[i]
        return curves[i](0.0 if done < near else min(done / shares[i], 1.0))

    return at


def divided(shares: Sequence[float | None]) -> list[float] | None:
    """The shares, with those that are None made equal parts of what the others leave.

    Returns:
        Shares that sum to 1; None if something is left that nobody takes.

    Raises:
        ValueError: they ask for more than the whole fit.

    Example:
        >>> divided([0.2, None, None]), divided([0.2, 0.3])
        ([0.2, 0.4, 0.4], None)
    """
    given = [share for share in shares if share is not None]
    free = len(shares) - len(given)
    total = math.fsum(given)
    full = math.isclose(total, 1.0, rel_tol=1e-9)
    if (full and free) or (total > 1 and not full):
        raise ValueError(
            f"the phases of a schedule must fit into it; got shares {given}, which sum to "
            f"{total:.12g}{f', and {free} more without a share' if free else ''}. Give smaller "
            "shares, e.g. warmup(0.05) >> cosine(0.001, 0)."
        )
    if not free and not full:
        return None
    return [(1 - total) / free if share is None else share for share in shares]

"""The shapes of schedules; what holds for all of them is said in `lehr.schedules`."""

import math
from collections.abc import Sequence

from lehr.errors import positive_int, real_number
from lehr.schedules.algebra import Part, Schedule, between_0_and_1, expression, whole
from lehr.schedules.annealing import annealer, makes_schedule
from lehr.schedules.chain import Curve, in_turn


def _above_0(name: str, value: float) -> float:
    if not value > 0.0:
        raise ValueError(f"{name} must be above 0; got {expression(value)}. Give e.g. {name}=0.25.")
    return value


def _between(start: float, end: float, share: float) -> float:
    return end if share == 1.0 else start + share * (end - start)  # start + (end - start) may miss


@annealer
def sched_lin(start: float, end: float, pos: float) -> float:
    """A straight line, start + pos·(end − start), between any two numbers.

    Example:
        >>> sched_lin(1, 2)(0.3)
        1.3
    """
    return _between(start, end, pos)


@annealer
def sched_cos(start: float, end: float, pos: float) -> float:
    """Half a cosine, flat at both ends: start + (1 + cos(π(1 − pos)))·(end − start)/2.

    Example:
        >>> [round(sched_cos(2, 0.01)(pos), 6) for pos in (0, 0.25, 0.5, 1)]
        [2.0, 1.708571, 1.005, 0.01]

    Reference: Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, one cycle.
    """
    return _between(start, end, (1 + math.cos(math.pi * (1 - pos))) / 2)


@annealer
def sched_no(start: float, end: float, pos: float) -> float:
    """Stays at ``start``; it takes an ``end`` only so that it can replace the others.

    Example:
        >>> sched_no(2, 0.01)(0.9)
        2.0
    """
    return start


@makes_schedule
def sched_exp(start: float, end: float) -> Curve:
    """The same factor at every step, start·(end/start)^pos; both ends have one sign, none is 0.

    Example:
        >>> round(sched_exp(2, 0.01)(0.5), 6)
        0.141421
    """
    if start == 0 or end == 0 or (start > 0) != (end > 0):
        raise ValueError(
            f"start and end must be non-zero and of one sign; got {expression(start)}, "
            f"{expression(end)}. Use sched_lin or sched_cos to reach or to pass 0."
        )
    a, b = abs(start), abs(end)  # a^(1 - pos)·b^pos is exact at both ends and never overflows
    return lambda pos: math.copysign(min(max(a ** (1 - pos) * b**pos, min(a, b)), max(a, b)), start)


@makes_schedule
def sched_poly(start: float, end: float, power: float) -> Curve:
    """A power of the position, start + pos^power·(end − start), with ``power`` above 0.

    Example:
        >>> sched_poly(0, 8, 2)(0.5)
        2.0

    Reference: fastai's ``SchedPoly``; torch's ``PolynomialLR`` falls as (1 − pos)^power instead.
    """
    _above_0("power", power)
    return lambda pos: _between(start, end, pos**power)


@makes_schedule
def constant(value: float) -> Curve:
    """``value`` everywhere.

    Example:
        >>> constant(0.9)(0.5)
        0.9
    """
    return lambda pos: value


@makes_schedule
def combine_scheds(pcts: Sequence[float], scheds: Sequence[Curve]) -> Curve:
    """One schedule after another; each runs from its own 0 to its own 1 over its share.

    Where two meet, the value is the start of the later one. A position that is nearer than 1e-12 to
    such a place counts as there, since n_steps / planned_steps may miss it in the last bit.

    Args:
        pcts: the share of each in the whole; above 0, and together 1 (to a relative 1e-9).
        scheds: as many schedules, or any functions of the position.

    Example:
        >>> f = combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])
        >>> [round(f(pos), 6) for pos in (0, 0.15, 0.3, 0.65, 1)]
        [0.3, 0.45, 0.6, 0.4, 0.2]
    """
    for name, given in (("pcts", pcts), ("scheds", scheds)):
        if not isinstance(given, tuple):  # a list has become one
            raise TypeError(f"{name} must be a list; got {given!r}. Give one item for each phase.")
    if not pcts or len(pcts) != len(scheds):
        got = f"got {len(pcts)} and {len(scheds)}. Give one item of each for each phase."
        raise ValueError(f"pcts and scheds must be of one length, not 0; {got}")
    for i, (pct, phase) in enumerate(zip(pcts, scheds, strict=True)):
        _above_0(f"pcts[{i}]", real_number(f"pcts[{i}]", pct))
        whole(f"scheds[{i}]", phase)
    if not math.isclose(total := math.fsum(pcts), 1.0, rel_tol=1e-9):
        got = f"pcts must sum to 1; got {expression(pcts)}, which sums to {total:.12g}"
        raise ValueError(f"{got}. Give each phase as a share of the whole fit, e.g. [0.3, 0.7].")
    return in_turn(pcts, scheds)


def cos_1cycle_anneal(start: float, high: float, end: float) -> list[Schedule]:
    """Two cosines for `combine_scheds`: up from ``start`` to ``high``, then down to ``end``.

    Example:
        >>> cos_1cycle_anneal(0.3, 0.6, 0.2)
        [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)]
    """
    return [sched_cos(start, real_number("high", high)), sched_cos(high, end)]


def _two(name: str, share: float, scheds: list[Curve] | list[Schedule]) -> Schedule:
    return combine_scheds([between_0_and_1(name, share), 1 - share], scheds)


@makes_schedule
def one_cycle(
    lr_max: float, *, pct_start: float = 0.25, div: float = 25.0, div_final: float = 1e5
) -> Curve:
    """The 1cycle policy for a learning rate: a cosine up to ``lr_max``, then one down.

    Args:
        lr_max: the highest value.
        pct_start: the share of the way up, between 0 and 1.
        div: the first value is lr_max/div; above 0.
        div_final: the last value is lr_max/div_final; above 0.

    Example:
        >>> one_cycle(0.5)(0), one_cycle(0.5)(0.25), one_cycle(0.5)(1)
        (0.02, 0.5, 5e-06)

    Reference: Smith 2018, arXiv:1803.09820. As in fastai, cosines replace its lines, and no third
        phase follows the way down, which goes on to the last value (torch: lr_max/div/div_final).
    """
    low, last = lr_max / _above_0("div", div), lr_max / _above_0("div_final", div_final)
    return _two("pct_start", pct_start, cos_1cycle_anneal(low, lr_max, last))


@makes_schedule
def one_cycle_momentum(high: float = 0.95, low: float = 0.85, *, pct_start: float = 0.25) -> Curve:
    """The counterpart of `one_cycle` for momentum: a cosine from ``high`` to ``low``, then back.

    Example:
        >>> [one_cycle_momentum()(pos) for pos in (0, 0.25, 1)]
        [0.95, 0.85, 0.95]

    Reference: Smith 2018, arXiv:1803.09820, cyclical momentum; cosines for straight lines.
    """
    return _two("pct_start", pct_start, cos_1cycle_anneal(high, low, high))


@makes_schedule
def warmup(share: float, start: float = 0.0) -> Curve:
    """A straight line from ``start`` to the beginning of the next phase of a chain.

    It is no schedule by itself. It takes ``share`` of the chain, between 0 and 1.

    Example:
        >>> f = warmup(0.2) >> cosine(0.4, 0)
        >>> [round(f(pos), 6) for pos in (0, 0.1, 0.2, 0.6, 1)]
        [0.0, 0.2, 0.4, 0.2, 0.0]
    """
    return Part(between_0_and_1("share", share), lambda following: sched_lin(start, following))


@makes_schedule
def warmup_cosine(peak: float, *, warmup: float = 0.05, end: float = 0.0) -> Curve:
    """A line from 0 to ``peak`` over the share ``warmup`` (between 0 and 1), a cosine to ``end``.

    Example:
        >>> [round(warmup_cosine(0.4, warmup=0.2)(pos), 6) for pos in (0, 0.1, 0.2, 0.4, 1)]
        [0.0, 0.2, 0.4, 0.341421, 0.0]
    """
    return _two("warmup", warmup, [sched_lin(0, peak), sched_cos(peak, end)])


@makes_schedule
def warmup_linear(peak: float, *, warmup: float = 0.05, end: float = 0.0) -> Curve:
    """A line from 0 to ``peak`` over the share ``warmup`` (between 0 and 1), a line to ``end``.

    Example:
        >>> [round(warmup_linear(0.4, warmup=0.2)(pos), 6) for pos in (0, 0.1, 0.2, 0.4, 1)]
        [0.0, 0.2, 0.4, 0.3, 0.0]
    """
    return _two("warmup", warmup, [sched_lin(0, peak), sched_lin(peak, end)])


@makes_schedule
def warm_restarts(high: float, low: float, *, cycles: int = 3, mult: float = 1.0) -> Curve:
    """``cycles`` cosines (at least 1), each from ``high`` to ``low``, one after another.

    Each is ``mult`` times (at least 1) as long as the one before. Only the last one reaches
    ``low``: where another would, the next begins at ``high``.

    Example:
        >>> f = warm_restarts(1, 0, cycles=2, mult=3)        # shares 1/4 and 3/4
        >>> [round(f(pos), 6) for pos in (0, 0.125, 0.25, 0.625, 1)]
        [1.0, 0.5, 1.0, 0.5, 0.0]

    Reference: Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5 (SGDR; ``mult`` is T_mult).
        Here the cycles fill the fit; the paper fixes the first one's length instead.
    """
    positive_int("cycles", cycles)
    if mult < 1.0:
        raise ValueError(f"mult must be at least 1; got {expression(mult)}. Give e.g. mult=2.")
    lengths = [mult ** (i + 1 - cycles) for i in range(cycles)]  # the last is 1: no overflow
    total = math.fsum(lengths)
    return combine_scheds([one / total for one in lengths], [sched_cos(high, low)] * cycles)


# Short names for the four between two ends, to write chains with.
linear, cosine, exponential, polynomial = sched_lin, sched_cos, sched_exp, sched_poly

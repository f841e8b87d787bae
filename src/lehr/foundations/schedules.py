"""Adds functions of position: schedules, what makes them, and what puts them in a row."""

import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

Curve = Callable[[float], float]  # a value for every position in [0, 1]


@dataclass(frozen=True)
class Schedule:
    """What an annealer's factory makes: an object, since a closure cannot be pickled."""

    factory: Any  # pickled by its name; it knows the function that it wraps
    start: float
    end: float

    def __call__(self, pos: float) -> float:
        """The value at ``pos``."""
        return float(self.factory.__wrapped__(self.start, self.end, pos))


def annealer(f: Callable[[float, float, float], float]) -> Callable[[float, float], Schedule]:
    """Turns ``f(start, end, pos)`` into a factory ``(start, end)`` of schedules; a decorator."""

    def make(start: float, end: float) -> Schedule:
        schedule = Schedule(factory, start, end)
        schedule(0.0)  # bad ends are refused here, not in the middle of a fit
        return schedule

    factory = wraps(f)(make)  # keeps name and docstring, but would show (start, end, pos)
    vars(factory)["__signature__"] = inspect.signature(make, follow_wrapped=False)
    return factory


@annealer
def sched_lin(start: float, end: float, pos: float) -> float:
    """A straight line, start + pos·(end − start)."""
    return end if pos == 1 else start + pos * (end - start)  # start + (end - start) may miss end


@annealer
def sched_cos(start: float, end: float, pos: float) -> float:
    """Half a cosine, flat at both ends."""
    return end if pos == 1 else start + (1 + math.cos(math.pi * (1 - pos))) / 2 * (end - start)


@annealer
def sched_no(start: float, end: float, pos: float) -> float:
    """``start`` throughout."""
    return start


@annealer
def sched_exp(start: float, end: float, pos: float) -> float:
    """The same factor at every step, start·(end/start)^pos; both ends need one sign, and no 0."""
    if start == 0 or end == 0 or (start > 0) != (end > 0):
        raise ValueError(f"start and end must have one sign; got {start}, {end}. Try sched_cos.")
    return math.copysign(abs(start) ** (1 - pos) * abs(end) ** pos, start)


def cos_1cycle_anneal(start: float, high: float, end: float) -> list[Schedule]:
    """Two cosines for `combine_scheds`: up from ``start`` to ``high``, then down to ``end``."""
    return [sched_cos(start, high), sched_cos(high, end)]


def combine_scheds(pcts: Sequence[float], scheds: Sequence[Curve]) -> Curve:
    """Each schedule over its own share of the whole; at a join, the start of the later one."""
    if len(pcts) != len(scheds) or min(pcts, default=0) <= 0 or abs(math.fsum(pcts) - 1) > 1e-9:
        raise ValueError(
            f"pcts must be above 0, sum to 1 and be as many as scheds; got {pcts} for {len(scheds)}"
            " scheds. Give each its share, e.g. [0.3, 0.7]."
        )
    joins = [math.fsum(pcts[:i]) for i in range(len(pcts))]
    return partial(_combined, [*joins, 1.0], tuple(scheds))


def _combined(joins: Sequence[float], scheds: Sequence[Curve], pos: float) -> float:
    i = bisect_right(joins, pos + 1e-12, hi=len(scheds)) - 1  # joins are rounded sums
    return float(scheds[i](max(0.0, (pos - joins[i]) / (joins[i + 1] - joins[i]))))

"""Schedules: pure functions from a position in [0, 1] to a value.

The position is the share of the fit that is done *before* the step: 0 at the first step, and never
quite 1. A schedule has no counter: it gives the same values in any loop, after a resume and in a
plot.

Every function here takes finite real numbers and returns a `Schedule`, whose values at 0 and 1 are
exact. An argument of another kind is a TypeError. nan, infinity, or a number out of its range is a
ValueError. Schedules are put together with ``>>``, ``+`` and ``*``: see `Schedule`. ``linear``,
``cosine``, ``exponential`` and ``polynomial`` are ``sched_lin``, ``sched_cos``, ``sched_exp`` and
``sched_poly``, the names that schedules print with.
"""

from lehr.schedules.algebra import Schedule
from lehr.schedules.annealing import annealer
from lehr.schedules.shapes import (
    combine_scheds,
    constant,
    cos_1cycle_anneal,
    cosine,
    exponential,
    linear,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
    sched_poly,
    warm_restarts,
    warmup,
    warmup_cosine,
    warmup_linear,
)
from lehr.schedules.text import schedule

__all__ = [
    "Schedule",
    "annealer",
    "combine_scheds",
    "constant",
    "cos_1cycle_anneal",
    "cosine",
    "exponential",
    "linear",
    "one_cycle",
    "one_cycle_momentum",
    "polynomial",
    "sched_cos",
    "sched_exp",
    "sched_lin",
    "sched_no",
    "sched_poly",
    "schedule",
    "warm_restarts",
    "warmup",
    "warmup_cosine",
    "warmup_linear",
]

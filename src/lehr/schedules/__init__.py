"""Schedules: pure functions from a position in [0, 1] to a value.

The position is the share of the fit that is done *before* the step: 0 at the first step, and never
quite 1. A schedule has no counter: it gives the same values in any loop, after a resume and in a
plot.

Every function here takes finite real numbers and returns a `Schedule`, whose values at 0 and 1 are
exact. An argument of another kind is a TypeError. nan, infinity, or a number out of its range is a
ValueError.
"""

from lehr.schedules.annealing import Schedule, annealer, schedule
from lehr.schedules.shapes import (
    combine_scheds,
    constant,
    cos_1cycle_anneal,
    one_cycle,
    one_cycle_momentum,
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

__all__ = [
    "Schedule",
    "annealer",
    "combine_scheds",
    "constant",
    "cos_1cycle_anneal",
    "one_cycle",
    "one_cycle_momentum",
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

"""Schedules: pure functions from a position in [0, 1] to a value.

The position is the share of the fit that is complete *before* the step: 0 at the first one, never
quite 1. A schedule counts nothing: it is the same in any loop, after a resume and in a plot.

Every factory here takes finite real numbers and returns a `Schedule`, exact at 0 and 1. An argument
of another kind is a TypeError; nan, infinity or a number out of its range is a ValueError.
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

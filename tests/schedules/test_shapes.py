"""The schedules: the lesson's numbers, expressions that can be read back, every message."""

import copy
import inspect
import math
import pickle
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch

from lehr import schedules
from lehr.schedules import (
    Schedule,
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
    schedule,
    warm_restarts,
    warmup,
    warmup_cosine,
    warmup_linear,
)

# One list of expressions for each factory. Each is the shortest way to write its schedule.
EXPRESSIONS = {
    "sched_lin": ["sched_lin(1, 2)", "sched_lin(-0.5, 1e-07)"],
    "sched_cos": ["sched_cos(0.3, 0.6)"],
    "sched_no": ["sched_no(2, 0.01)"],
    "sched_exp": ["sched_exp(2, 0.01)", "sched_exp(-1, -8)"],
    "sched_poly": ["sched_poly(0, 8, 0.9)"],
    "constant": ["constant(0.1)", "constant(-3)"],
    "combine_scheds": [
        "combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])",
        "combine_scheds([1], [constant(2)])",
        "combine_scheds([0.5, 0.5], [one_cycle(1), combine_scheds([1], [constant(2)])])",
    ],
    "one_cycle": ["one_cycle(0.5)", "one_cycle(0.5, div=10)", "one_cycle(1, pct_start=0.3)"],
    "one_cycle_momentum": [
        "one_cycle_momentum()",
        "one_cycle_momentum(0.9)",
        "one_cycle_momentum(low=0.8)",
        "one_cycle_momentum(0.9, 0.8, pct_start=0.5)",
    ],
    "warmup": ["warmup(0.1) >> sched_cos(1, 0)", "warmup(0.1, 0.001) >> one_cycle(1)"],
    "warmup_cosine": ["warmup_cosine(0.1)", "warmup_cosine(0.1, end=0.01)"],
    "warmup_linear": ["warmup_linear(0.1)", "warmup_linear(0.1, warmup=0.5)"],
    "warm_restarts": ["warm_restarts(1, 0)", "warm_restarts(1, 0, cycles=4, mult=2)"],
}
EVERY = [expression for expressions in EXPRESSIONS.values() for expression in expressions]


def evaluate(expression):
    return eval(expression, dict(vars(schedules)))


@schedule
def steps(values: list, *, scale: float = 1):
    """A staircase."""
    return lambda pos: scale * values[min(int(pos * len(values)), len(values) - 1)]


def plain(pos):
    return torch.tensor(1.0 - pos)


def course_annealer(f):
    def _inner(start, end):
        def at(pos):
            return f(start, end, pos)

        return at

    return _inner


def course_combine(pcts, scheds):
    edges = torch.cumsum(torch.tensor([0.0, *pcts]), 0)

    def _inner(pos):
        i = int((pos >= edges).nonzero().max())
        i = 1 if i == 2 else i
        return scheds[i]((pos - edges[i]) / (edges[i + 1] - edges[i]))

    return _inner


# ---- the lesson's numbers


@pytest.mark.parametrize(
    ("factory", "values"),
    [
        (sched_lin, [2, 1.5025, 1.005, 0.5075, 0.01]),
        (sched_cos, [2, 1.708571, 1.005, 0.301429, 0.01]),
        (sched_exp, [2, 0.531830, 0.141421, 0.037606, 0.01]),
        (sched_no, [2, 2, 2, 2, 2]),
    ],
)
def test_the_lessons_table(factory, values):
    """The four schedules from 2 to 0.01 at each quarter, and exactly at both ends."""
    f = factory(2, 0.01)
    assert [f(pos) for pos in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(values, abs=6e-7)
    assert f(0) == values[0]
    assert f(1) == values[-1]


def test_sched_lin_of_the_lesson():
    assert sched_lin(1, 2)(0.3) == 1.3


def test_cos_1cycle_anneal_is_two_schedules_that_meet():
    """Up from start to high, then down to end; both are exact where they meet."""
    up, down = cos_1cycle_anneal(0.3, 0.6, 0.2)
    assert (up(0), up(1), down(0), down(1)) == (0.3, 0.6, 0.6, 0.2)


def test_combined_schedules_of_the_lesson():
    """Shares of 0.3 and 0.7, each a cosine with its own position from 0 to 1."""
    f = combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])
    at = [0, 0.15, 0.3, 0.475, 0.65, 0.825, 1]
    values = [0.3, 0.45, 0.6, 0.541421, 0.4, 0.258579, 0.2]
    assert [f(pos) for pos in at] == pytest.approx(values, abs=6e-7)
    assert (f(0), f(0.3), f(1)) == (0.3, 0.6, 0.2)


def test_three_phases_and_what_the_course_makes_of_them():
    """The course's special case runs the third phase on the second's share."""
    parts = [sched_lin(0, 1), sched_lin(1, 2), sched_lin(2, 3)]
    f = combine_scheds([0.2, 0.3, 0.5], parts)
    assert [f(0.6), f(0.75)] == pytest.approx([2.2, 2.5])

    lines = [course_annealer(lambda a, b, pos: a + pos * (b - a))(i, i + 1) for i in range(3)]
    course = course_combine([0.2, 0.3, 0.5], lines)
    assert [float(course(0.6)), float(course(0.75))] == pytest.approx([2.3333, 2.8333], abs=1e-4)
    assert isinstance(course(0.6), torch.Tensor)
    assert type(f(0.6)) is float


@pytest.mark.parametrize("pcts", [[0.7, 0.2, 0.1], [0.1] * 10, [1 / 3] * 3, [1], (0.5, 0.5)])
def test_shares_whose_float_sum_is_not_quite_one(pcts):
    f = combine_scheds(pcts, [sched_lin(i, i + 1) for i in range(len(pcts))])
    assert f(0) == 0
    assert f(1) == len(pcts)
    assert reduce(add, [0.1] * 10) != 1  # what the course asks for, where `sum` rounds each time


def test_a_join_is_the_later_phases_start_whichever_way_it_is_reached():
    shares = [0.2, 0.4, 0.4]
    f = combine_scheds(shares, [sched_lin(10 * i, 10 * i + 1) for i in range(3)])
    assert 0.2 + 0.4 != 0.6
    assert f(0.6) == f(0.2 + 0.4) == f(600 / 1000) == 20
    assert f(math.nextafter(0.2, 0)) == f(0.2) == 10
    assert f(0.2 - 1e-9) == pytest.approx(1)  # negative control: just before, it is the earlier one


def test_the_last_phase_ends_in_time_when_the_sum_is_a_little_short():
    f = combine_scheds([0.5, 0.4999999999], [sched_lin(0, 1), sched_lin(1, 2)])
    assert f(1 - 1e-11) == f(1) == 2


def test_a_phase_shorter_than_the_tolerance_of_a_join_still_begins_and_ends():
    f = combine_scheds([1e-13, 1 - 2e-13, 1e-13], [constant(1), constant(2), constant(3)])
    assert (f(0), f(0.5), f(1)) == (1, 2, 3)


def test_positions_of_a_whole_fit_are_what_the_formula_says():
    f = one_cycle(0.5)
    recorded = [f(step / 294) for step in range(294)]
    assert recorded[0] == 0.02
    assert max(recorded) == pytest.approx(0.5, abs=1e-4)
    assert recorded[-1] == pytest.approx(f(0.996599), abs=1e-6)
    assert recorded[-1] > f(1) == 0.5 / 1e5


def test_tensors_as_positions_and_plots_without_a_patch():
    """`p` and the list of values go straight into matplotlib."""
    p = torch.linspace(0.01, 1, 100)
    values = [sched_cos(2, 0.01)(pos) for pos in p]
    assert p.ndim == 1
    assert {type(value) for value in values} == {float}
    assert sched_lin(0, 1)(np.float32(0.5)) == 0.5


# ---- recipes


def test_one_cycle():
    f, moms = one_cycle(1, pct_start=0.4, div=10, div_final=100), one_cycle_momentum(pct_start=0.4)
    assert [f(0), f(0.2), f(0.4), f(1)] == pytest.approx([0.1, 0.55, 1, 0.01])
    assert [moms(0), moms(0.2), moms(0.4), moms(1)] == pytest.approx([0.95, 0.9, 0.85, 0.95])


def test_warmups():
    late = [0, 0.05, 0.1, 0.55, 1]
    assert [(warmup(0.1) >> constant(2))(pos) for pos in late] == pytest.approx([0, 1, 2, 2, 2])
    assert [(warmup(0.1, start=2) >> sched_lin(4, 0))(pos) for pos in late] == pytest.approx(
        [2, 3, 4, 2, 0]
    )
    for factory in (warmup_cosine, warmup_linear):
        f = factory(2, warmup=0.1, end=1)
        assert [f(pos) for pos in late] == pytest.approx([0, 1, 2, 1.5, 1])
    assert warmup_cosine(2)(0.5) != warmup_linear(2)(0.5)


def test_warm_restarts_are_equation_5():
    high, low, lengths = 0.4, 0.1, [1, 2, 4]
    f = warm_restarts(high, low, cycles=3, mult=2)
    for t in np.linspace(0, 6.999, 50):
        cycle = int(np.searchsorted([1, 3, 7], t, side="right"))
        done = (t - [0, 1, 3][cycle]) / lengths[cycle]
        expected = low + (high - low) * (1 + math.cos(math.pi * done)) / 2
        assert f(t / 7) == pytest.approx(expected, abs=1e-12)
    assert [f(0), f(1 / 7), f(3 / 7), f(1)] == [high, high, high, low]
    assert f(1 / 7 - 1e-6) == pytest.approx(low, abs=1e-6)


def test_warm_restarts_do_not_overflow():
    f = warm_restarts(1, 0, cycles=3, mult=1e100)
    assert (f(0), f(0.5), f(1)) == (1, 0.5, 0)


# ---- a schedule is its expression


def test_every_factory_is_found_and_has_expressions():
    found = {
        name
        for name, value in vars(schedules).items()
        if inspect.isfunction(value) and inspect.signature(value).return_annotation is Schedule
        if name == value.__name__  # the short names are others of the same
    }
    assert found == set(EXPRESSIONS)
    for name in found:
        assert "Example:" in getattr(schedules, name).__doc__


@pytest.mark.parametrize("expression", EVERY)
def test_repr_equality_hash_pickle_copy(expression):
    s = evaluate(expression)
    assert isinstance(s, Schedule)
    assert repr(s) == expression
    for same in (evaluate(repr(s)), pickle.loads(pickle.dumps(s)), copy.copy(s), copy.deepcopy(s)):
        assert same == s
        assert hash(same) == hash(s)
        assert repr(same) == repr(s)
        assert [same(i / 9) for i in range(10)] == [s(i / 9) for i in range(10)]
    assert all(type(s(pos)) is float for pos in (0, 0.5, 1))


def test_schedules_of_other_expressions_differ():
    assert len({evaluate(expression) for expression in EVERY}) == len(EVERY)
    assert sched_lin(1, 2) != sched_lin(1, 3)
    assert sched_lin(1, 2) != sched_cos(1, 2)
    assert sched_lin(1, 2) != "sched_lin(1, 2)"


def test_equality_is_by_bound_arguments():
    assert sched_lin(1, 2) == sched_lin(end=2.0, start=np.float64(1))
    assert one_cycle(0.5) == one_cycle(lr_max=0.5, div=25)
    assert combine_scheds([1], [constant(1)]) == combine_scheds((1.0,), (constant(1),))


def test_a_list_that_changes_later_changes_no_schedule():
    values = [3, 2]
    s = steps(values)
    values[0] = 100
    assert s(0) == 3


def test_any_function_can_be_a_phase():
    f = combine_scheds([0.5, 0.5], [plain, math.sqrt])
    assert repr(f) == "combine_scheds([0.5, 0.5], [plain, sqrt])"
    assert [f(0), f(0.25), f(0.5), f(1)] == [1, 0.5, 0, 1]
    assert type(f(0.25)) is float  # though plain returns a tensor
    assert (warmup(0.5) >> plain)(0.5) == 1


BAD = [
    ("sched_lin(True, 1)", TypeError, "start must be a real number; got True. Give a number"),
    ("sched_lin(0, '1')", TypeError, "end must be a real number; got '1'. Give a number"),
    ("constant(None)", TypeError, "value must be a real number; got None. Give a number"),
    ("constant(torch.tensor(0.5))", TypeError, "value must be .* got tensor.*Use float.value"),
    ("sched_cos(nan, 1)", ValueError, "start must be finite; got nan. Give a number"),
    ("sched_no(0, inf)", ValueError, "end must be finite; got inf. Give a number"),
    ("one_cycle('0.5')", TypeError, "lr_max must be a real number; got '0.5'"),
    ("sched_lin(1)", TypeError, "sched_lin: missing .*'end'. It takes .start, end.[.]"),
    ("sched_lin(1, 2, 3)", TypeError, "sched_lin: too many .* It takes .start, end.[.]"),
    (
        "sched_exp(0, 1)",
        ValueError,
        "start and end must be non-zero and of one sign; got 0, 1. Use",
    ),
    (
        "sched_exp(1, 0)",
        ValueError,
        "start and end must be non-zero and of one sign; got 1, 0. Use",
    ),
    ("sched_exp(-1, 2.5)", ValueError, "one sign; got -1, 2.5. Use sched_lin or sched_cos"),
    ("sched_poly(0, 1, 0)", ValueError, "power must be above 0; got 0. Give e.g. power="),
    ("one_cycle(1, div=0)", ValueError, "div must be above 0; got 0. Give"),
    ("one_cycle(1, div_final=-2)", ValueError, "div_final must be above 0; got -2. Give"),
    (
        "one_cycle(1, pct_start=1)",
        ValueError,
        "pct_start must be between 0 and 1, excl.*; got 1. G",
    ),
    (
        "one_cycle_momentum(pct_start=0)",
        ValueError,
        "pct_start must be between 0 and 1, .*got 0. G",
    ),
    ("warmup(1.5)", ValueError, "share must be between 0 and 1, .*got 1.5. Give"),
    ("warmup(0.1) >> 0.5", TypeError, "a phase must be a schedule; got 0.5. Use constant"),
    ("warmup(constant(1))", TypeError, "share must be a real number"),
    ("warmup_cosine(1, warmup=0)", ValueError, "warmup must be between 0 and 1, .*; got 0. Give"),
    ("warmup_linear(1, warmup=1)", ValueError, "warmup must be between 0 and 1, .*; got 1. Give"),
    ("warm_restarts(1, 0, mult=0.5)", ValueError, "mult must be at least 1; got 0.5. Give"),
    ("warm_restarts(1, 0, cycles=0)", ValueError, "cycles must be at least 1; got 0. Give"),
    ("warm_restarts(1, 0, cycles=2.5)", TypeError, "cycles must be an int of at least 1; got 2.5"),
    ("cos_1cycle_anneal(0, '1', 0)", TypeError, "high must be a real number; got '1'"),
    ("combine_scheds([0.5, 0.5], [s])", ValueError, "of one length, not 0; got 2 and 1. Give one"),
    ("combine_scheds([], [])", ValueError, "must be of one length, not 0; got 0 and 0. Give one"),
    ("combine_scheds([1.5, -0.5], [s, s])", ValueError, r"pcts\[1\] must be above 0; got -0.5. G"),
    ("combine_scheds([1, 0], [s, s])", ValueError, r"pcts\[1\] must be above 0; got 0. Give"),
    ("combine_scheds([nan, 1], [s, s])", ValueError, r"pcts\[0\] must be finite; got nan"),
    ("combine_scheds(['1'], [s])", TypeError, r"pcts\[0\] must be a real number; got '1'"),
    ("combine_scheds([1], [0.1])", TypeError, r"scheds\[0\] must be a schedule; got 0.1. Use cons"),
    ("combine_scheds(1, [s])", TypeError, "pcts must be a list; got 1. Give one item for each"),
    ("combine_scheds([1], s)", TypeError, "scheds must be a list; got constant.*Give one item"),
    ("s(1.5)", ValueError, r"pos must be within \[0, 1\]; got 1.5. Give the share of the fit"),
    ("s(-1e-9)", ValueError, r"pos must be within \[0, 1\]; got -1e-09. Give the share"),
    ("s(nan)", ValueError, r"pos must be within \[0, 1\]; got nan. Give the share"),
    ("s('0.5')", TypeError, "pos must be a number; got '0.5'. Give the share that is done"),
]


@pytest.mark.parametrize(("expression", "error", "message"), BAD)
def test_messages(expression, error, message):
    names = vars(schedules) | {"s": constant(1), "nan": math.nan, "inf": math.inf, "torch": torch}
    with pytest.raises(error, match=message):
        eval(expression, names)


def test_the_whole_message_about_the_sum():
    with pytest.raises(ValueError) as caught:
        combine_scheds([0.3, 0.3], [constant(1), constant(2)])
    assert str(caught.value) == (
        "pcts must sum to 1; got [0.3, 0.3], which sums to 0.6. "
        "Give each phase as a share of the whole fit, e.g. [0.3, 0.7]."
    )
    with pytest.raises(ValueError, match=r"sums to 1\.000001\."):
        combine_scheds([0.5, 0.500001], [constant(1), constant(2)])


def test_sched_poly_and_extremes():
    assert [sched_poly(8, 0, 2)(pos) for pos in (0, 0.5, 1)] == [8, 6, 0]
    assert sched_poly(0, 8, 1)(0.3) == sched_lin(0, 8)(0.3)
    assert sched_exp(1e-300, 1e300)(0.5) == pytest.approx(1)
    assert sched_exp(-2, -8)(0.5) == pytest.approx(-4)

"""Rung 8, first half: schedules are functions of position; beside `lehr.schedules`."""

import inspect
import math
import pickle
from functools import partial, reduce, wraps
from operator import add

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lehr import schedules
from lehr.foundations import anneal
from lehr.foundations import schedules as rung
from lehr.foundations.schedules import (
    annealer,
    combine_scheds,
    cos_1cycle_anneal,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
)

NAMES = ["sched_lin", "sched_cos", "sched_no", "sched_exp"]
ENDS = st.floats(-1e6, 1e6)
POSITIVE = st.floats(1e-6, 1e6)
POSITIONS = st.floats(0, 1)


@annealer
def sched_square(start, end, pos):
    """A parabola."""
    return start + pos**2 * (end - start)


def test_an_annealer_makes_a_factory_of_schedules():
    """A function of start, end and position becomes a factory that takes start and end and returns
    a function of the position."""
    schedule = sched_square(0, 8)
    assert [schedule(pos) for pos in (0, 0.5, 1)] == [0, 2, 8]
    assert sched_square(0, 8) == schedule != sched_square(0, 4)


def test_a_straight_line_goes_from_start_to_end_in_proportion():
    """sched_lin(1, 2) is 1.3 at 0.3. With end and start exchanged in the slope it would be 0.7."""
    assert sched_lin(1, 2)(0.3) == 1.3
    assert 1 + 0.3 * (1 - 2) == 0.7


def closure_annealer(f):
    """Written as usual: name, docstring and pickling are lost, or too many arguments shown."""

    def factory(start, end):
        return partial(f, start, end)

    return factory


@closure_annealer
def sched_closure(start, end, pos):
    """A line."""
    return start + pos * (end - start)


@pytest.mark.parametrize("name", NAMES)
def test_signature_name_and_docstring_are_those_one_expects(name):
    """Help on a schedule's factory shows (start, end), its own name and its docstring. The usual
    decorator loses the latter two; with functools.wraps it would show a third argument."""
    factory = getattr(anneal, name)
    assert list(inspect.signature(factory).parameters) == ["start", "end"]
    assert factory.__name__ == name
    assert factory.__module__ == rung.__name__
    assert "``start``" in factory.__doc__ or "end" in factory.__doc__ or "flat" in factory.__doc__
    assert (sched_closure.__name__, sched_closure.__doc__) == ("factory", None)
    wrapped = wraps(factory.__wrapped__)(lambda start, end: None)
    assert list(inspect.signature(wrapped).parameters) == ["start", "end", "pos"]


@pytest.mark.parametrize("name", NAMES)
def test_schedules_can_be_pickled(name):
    """A schedule that went through pickle is the same function; so is a combination. The usual
    closure cannot be pickled."""
    schedule = getattr(anneal, name)(2, 0.01)
    for each in (schedule, combine_scheds([0.3, 0.7], [schedule, schedule])):
        again = pickle.loads(pickle.dumps(each))
        assert [again(i / 10) for i in range(11)] == [each(i / 10) for i in range(11)]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(sched_closure(2, 0.01))


TABLE = {  # from 2 to 0.01
    0: (2, 2, 2),
    0.25: (1.5025, 1.708571, 0.531830),
    0.5: (1.005, 1.005, 0.141421),
    0.75: (0.5075, 0.301429, 0.037606),
    1: (0.01, 0.01, 0.01),
}


@pytest.mark.parametrize("pos", TABLE)
def test_line_cosine_and_exponential_from_2_to_001_at_each_quarter(pos):
    """The straight line, the cosine and the exponential from 2 to 0.01 at each quarter."""
    values = [make(2, 0.01)(pos) for make in (sched_lin, sched_cos, sched_exp)]
    assert values == pytest.approx(TABLE[pos], abs=5e-7)
    assert all(type(value) is float for value in values)


def test_the_cosine_leaves_and_arrives_flat():
    """Half a cosine hardly moves at its ends and passes the middle halfway. With the cosine of
    π·pos in place of π·(1 − pos) it would begin where it should end."""
    schedule = sched_cos(2, 0.01)
    assert abs(schedule(0.01) - 2) < abs(sched_lin(2, 0.01)(0.01) - 2) / 10
    assert schedule(0.5) == pytest.approx((2 + 0.01) / 2)
    assert 2 + (1 + math.cos(math.pi * 0)) * (0.01 - 2) / 2 == pytest.approx(0.01)


@given(POSITIONS, ENDS, ENDS)
def test_a_constant_stays_at_its_start(pos, start, end):
    """sched_no is its start at every position, whatever its end."""
    assert sched_no(start, end)(pos) == start


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 0), (-1, 2), (2, -1), (0, 0)])
def test_an_exponential_neither_reaches_nor_passes_zero(start, end):
    """Ends of two signs, or an end of 0, are refused when the schedule is made. Unchecked, the
    formula divides by 0, falls to 0 at once, or turns complex."""
    with pytest.raises(ValueError, match="start and end must have one sign"):
        sched_exp(start, end)

    def unchecked(pos):
        return start * (end / start) ** pos

    if start == 0:
        with pytest.raises(ZeroDivisionError):
            unchecked(0.5)
    else:
        assert unchecked(0.01) == 0 if end == 0 else isinstance(unchecked(0.5), complex)


@given(POSITIONS, POSITIVE, POSITIVE)
def test_an_exponential_changes_by_one_factor(pos, start, end):
    """Equal steps multiply by equal factors, for positive and for negative ends."""
    for sign in (1, -1):
        schedule = sched_exp(sign * start, sign * end)
        assert schedule(pos) == pytest.approx(sign * start * (end / start) ** pos, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
@given(pos=POSITIONS, start=ENDS, end=ENDS)
def test_every_schedule_equals_the_librarys(name, pos, start, end):
    """The four schedules give the values of `lehr.schedules`, at any position and between any
    ends, and are exact at both."""
    assume(name != "sched_exp" or start * end > 0)
    ours, products = (getattr(place, name)(start, end) for place in (anneal, schedules))
    assert ours(pos) == pytest.approx(products(pos), rel=1e-12, abs=1e-12 * (abs(start) + abs(end)))
    assert ours(0) == start
    assert ours(1) == (start if name == "sched_no" else end)
    others = [getattr(schedules, other)(1.0, 3.0)(0.3) for other in NAMES if other != name]
    assert getattr(anneal, name)(1.0, 3.0)(0.3) not in others


def test_one_cycle_is_two_cosines_that_meet():
    """A list of two schedules: up from start to high, then down to end."""
    up, down = cos_1cycle_anneal(0.3, 0.6, 0.2)
    assert (up(0), up(1), down(0), down(1)) == (0.3, 0.6, 0.6, 0.2)


def printed_combine(pcts, scheds):
    """The usual combination, with its repair of the end point for two phases."""
    starts = torch.cumsum(torch.tensor([0.0, *pcts]), 0)

    def at(pos):
        i = int((pos >= starts).nonzero().max())
        i = 1 if i == 2 else i
        return scheds[i]((pos - starts[i]) / (starts[i + 1] - starts[i]))

    return at


def test_phases_run_over_their_own_shares():
    """A combination of shares 0.3 and 0.7 takes these values, each a Python float and the last
    exact; the usual combination returns tensors."""
    f = combine_scheds([0.3, 0.7], cos_1cycle_anneal(0.3, 0.6, 0.2))
    expected = {0: 0.3, 0.15: 0.45, 0.3: 0.6, 0.475: 0.541421, 0.65: 0.4, 0.825: 0.258579, 1: 0.2}
    for pos, value in expected.items():
        assert f(pos) == pytest.approx(value, abs=5e-7)
        assert type(f(pos)) is float
    assert f(1) == 0.2
    lines = [partial(lambda start, end, pos: start + pos * (end - start), 0, 1)] * 2
    assert isinstance(printed_combine([0.3, 0.7], lines)(0.5), torch.Tensor)


def test_any_number_of_phases_can_be_combined():
    """Three lines of shares 0.2, 0.3, 0.5 are 2.2 at 0.6 and 2.5 at 0.75; the usual combination,
    repaired for two phases only, gives 2.3333 and 2.8333."""
    lines = [sched_lin(0, 1), sched_lin(1, 2), sched_lin(2, 3)]
    f = combine_scheds([0.2, 0.3, 0.5], lines)
    assert [f(pos) for pos in (0.6, 0.75, 1)] == pytest.approx([2.2, 2.5, 3])
    printed = printed_combine([0.2, 0.3, 0.5], lines)
    assert [float(printed(pos)) for pos in (0.6, 0.75)] == pytest.approx([2.3333, 2.8333], abs=1e-4)
    assert combine_scheds([1.0], [sched_lin(0, 1)])(0.5) == 0.5


@pytest.mark.parametrize("pcts", [[0.7, 0.2, 0.1], [0.1] * 10])
def test_shares_whose_rounded_sum_misses_1_are_accepted(pcts):
    """These shares add up to 0.9999999999999999 in floats, and are fine; the end is still exact and
    every join is the beginning of the later phase."""
    assert reduce(add, pcts) == 0.9999999999999999 != 1  # `sum` is, from Python 3.12 on
    f = combine_scheds(pcts, [sched_lin(i, i + 0.5) for i in range(len(pcts))])
    assert f(1) == len(pcts) - 0.5
    for i in range(1, len(pcts)):
        assert f(round(math.fsum(pcts[:i]), 3)) == pytest.approx(i)


@pytest.mark.parametrize(
    ("pcts", "count"), [([0.3, 0.6], 2), ([0.5, 0.5], 3), ([], 0), ([1.5, -0.5], 2), ([1, 0], 2)]
)
def test_shares_that_are_not_positive_or_do_not_sum_to_1_are_refused(pcts, count):
    """Shares that are not above 0, miss 1 in sum or are too few or many are an error."""
    with pytest.raises(ValueError, match="pcts must be above 0, sum to 1"):
        combine_scheds(pcts, [sched_lin(0, 1)] * count)


@given(POSITIONS, st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_every_combination_equals_the_librarys(pos, parts):
    """Any shares give the values of `lehr.schedules` at any position."""
    pcts = [part / sum(parts) for part in parts]
    ends = [(i + 0.5, 2.0 * i) for i in range(len(parts))]
    ours = combine_scheds(pcts, [sched_cos(*pair) for pair in ends])
    products = schedules.combine_scheds(pcts, [schedules.sched_cos(*pair) for pair in ends])
    assert ours(pos) == pytest.approx(products(pos), abs=1e-9)

"""For all schedules: exact ends, no jump at a join, within bounds, pure, and readable back."""

import math
import pickle
from functools import reduce
from operator import add, rshift

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lehr import schedules
from lehr.schedules import (
    combine_scheds,
    constant,
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

few = settings(max_examples=60, deadline=None)

numbers = st.floats(-1e6, 1e6)
positive = st.floats(1e-9, 1e6)
shares = st.floats(0.001, 0.999)
positions = st.floats(0, 1)


@st.composite
def annealed(draw, start=None, end=None):
    """A schedule between two ends, with its ends."""
    kind = draw(st.sampled_from([sched_lin, sched_cos, sched_poly, sched_exp]))
    ends = positive if kind is sched_exp else numbers
    if start is not None and kind is sched_exp:
        kind = sched_lin
    start = draw(ends) if start is None else start
    end = draw(ends) if end is None else end
    power = [draw(st.floats(0.1, 9))] if kind is sched_poly else []
    return kind(start, end, *power), start, end


@st.composite
def phases(draw, joined=False):
    """Shares that sum to 1, and as many schedules with their ends."""
    n = draw(st.integers(1, 12))
    weights = draw(st.lists(st.integers(1, 50), min_size=n, max_size=n))
    parts, start = [], None
    for _ in weights:
        parts.append(draw(annealed(start=start)))
        start = parts[-1][2] if joined else None
    return [weight / sum(weights) for weight in weights], parts


@st.composite
def anything(draw):
    """Any schedule of this module, nested ones too."""
    simple = st.one_of(
        annealed().map(lambda a: a[0]),
        st.builds(constant, numbers),
        st.builds(sched_no, numbers, numbers),
        st.builds(one_cycle, numbers, pct_start=shares, div=positive, div_final=positive),
        st.builds(one_cycle_momentum, numbers, numbers, pct_start=shares),
        st.builds(warmup_cosine, numbers, warmup=shares, end=numbers),
        st.builds(warmup_linear, numbers, warmup=shares, end=numbers),
        st.builds(warm_restarts, numbers, numbers, cycles=st.integers(1, 5), mult=st.floats(1, 3)),
    )
    pcts = draw(phases())[0]
    combined = st.builds(
        combine_scheds, st.just(pcts), st.lists(simple, min_size=len(pcts), max_size=len(pcts))
    )
    warmed = st.builds(lambda s, share, start: warmup(share, start) >> s, simple, shares, numbers)
    return draw(st.one_of(simple, combined, warmed))


def small_shares():
    return st.floats(0.001, 0.04)


@st.composite
def phase(draw, depth=2):
    """A phase of a chain: a whole schedule, one with a share, or a warm-up."""
    whole = draw(expressions(depth))
    kind = draw(st.sampled_from(["whole", "share", "warmup"]))
    if kind == "warmup":
        return warmup(draw(small_shares()), draw(numbers))
    return whole if kind == "whole" else whole.over(draw(small_shares()))


@st.composite
def expressions(draw, depth=2):
    """A schedule of any operations."""
    kinds = ["simple", "chain", "sum", "product", "scaled", "plus number", "rounded"]
    kind = draw(st.sampled_from(kinds)) if depth else "simple"
    small = st.floats(-100, 100)
    if kind == "simple":
        factory = draw(st.sampled_from([sched_lin, sched_cos, warmup_cosine, constant]))
        ends = [draw(small)] if factory in (warmup_cosine, constant) else [draw(small), draw(small)]
        return factory(*ends)
    a = draw(expressions(depth - 1))
    if kind == "chain":
        phases = draw(st.lists(phase(depth=depth - 1), max_size=3))
        return reduce(rshift, [*phases, a])
    if kind == "sum":
        return a + draw(expressions(depth - 1))
    if kind == "product":
        return a * draw(expressions(depth - 1))
    if kind == "rounded":
        return a.rounded(draw(st.floats(0.1, 32)))
    return draw(small) * a if kind == "scaled" else draw(small) + a


@few
@given(expressions(depth=3), positions)
def test_what_a_schedule_of_any_operations_prints_comes_back(s, pos):
    assume(len(repr(s)) <= 1000)
    again = schedule(repr(s))
    assert again == s
    assert repr(again) == repr(s)
    assert pickle.loads(pickle.dumps(s)) == s
    for at in (0, pos, 1):
        assert again(at) == s(at)


@few
@given(phase(), phase(), expressions(), positions)
def test_brackets_in_a_chain_make_no_difference(a, b, c, pos):
    left, right = (a >> b) >> c, a >> (b >> c)
    assert left == right == a >> b >> c
    assert [left(at) for at in (0, pos, 1)] == [right(at) for at in (0, pos, 1)]
    assert (a >> b).factory is left.factory


def test_order_and_shares_in_a_chain_do_make_a_difference():
    """Negative control of the brackets above."""
    a, b, c = constant(1), constant(2), constant(3)
    assert a >> b >> c != a >> c >> b
    nested = (a >> b).over(0.5) >> c
    assert nested != a >> b >> c
    assert (nested(0.3), (a >> b >> c)(0.3)) == (2, 1)


@few
@given(st.lists(phase(), max_size=4), expressions(), expressions())
def test_the_ends_and_joins_of_a_chain_are_met_exactly(phases, first, last):
    chain = reduce(rshift, [first, *phases, last])
    assert (chain(0), chain(1)) == (first(0), last(1))
    assert (first.over(0.5) >> last.over(0.5))(0.5) == last(0)


@few
@given(expressions(), expressions(), st.floats(-100, 100), positions)
def test_sums_and_products_are_those_of_the_values(a, b, factor, pos):
    for at in (0, pos, 1):
        assert (a + b)(at) == a(at) + b(at)
        assert (a * b)(at) == a(at) * b(at)
        assert (factor * a)(at) == (a * factor)(at) == factor * a(at)
        assert (a + factor)(at) == a(at) + factor
    assert factor * a == a * factor


@few
@given(annealed(), positions, positions)
def test_two_ends_are_exact_bounds_and_the_way_between_is_monotone(case, a, b):
    f, start, end = case
    assert (f(0), f(1)) == (start, end)
    for pos in (a, b):
        assert min(start, end) <= f(pos) <= max(start, end)
    a, b = sorted((a, b))
    slack = 1e-12 * max(abs(start), abs(end))  # libm's cos and pow round to about one ulp
    assert (f(b) - f(a)) * (1 if end >= start else -1) >= -slack


@few
@given(numbers, numbers)
def test_the_bare_formula_is_not_exact_at_its_end(start, end):
    """Negative control: why `sched_lin` treats 1 specially; 0.1 + (0.7 - 0.1) is one such case."""
    assert sched_lin(start, end)(1) == end
    assert 0.9 + (0.3 - 0.9) != 0.3 == sched_lin(0.9, 0.3)(1)


@few
@given(phases(), positions)
def test_any_number_of_phases(case, pos):
    pcts, parts = case
    f = combine_scheds(pcts, [part for part, _, _ in parts])
    assert (f(0), f(1)) == (parts[0][1], parts[-1][2])
    ends = [end for _, *both in parts for end in both]
    assert min(ends) <= f(pos) <= max(ends)
    for i in range(1, len(pcts)):
        for join in (reduce(add, pcts[:i]), math.fsum(pcts[:i]), 1 - math.fsum(pcts[i:])):
            assert f(join) == parts[i][1]


@few
@given(phases(joined=True))
def test_phases_that_meet_have_no_jump(case):
    """Just before a join the value is near the later phase's start, which is the earlier's end."""
    pcts, parts = case
    f = combine_scheds(pcts, [part for part, _, _ in parts])
    edge = 0.0
    for pct, (part, start, end) in zip(pcts[:-1], parts[:-1], strict=True):
        edge += pct
        step = 1e-9
        # at its end a phase moves at most `slope` times as fast as a line (power ≤ 9, exp: ratio)
        ratio = math.log(max(end / start, start / end)) if part.factory is sched_exp else 0
        slope = max(9, ratio) * max(abs(start), abs(end)) * 2 / pct
        assert abs(f(edge - step) - f(edge)) <= slope * step + 1e-9


@few
@given(st.integers(2, 400), st.data())
def test_a_phase_that_begins_at_a_step_begins_there_exactly(n_steps, data):
    at = data.draw(st.integers(1, n_steps - 1))
    f = combine_scheds([at / n_steps, 1 - at / n_steps], [constant(1), constant(2)])
    assert [f(i / n_steps) for i in range(n_steps)] == [1] * at + [2] * (n_steps - at)


@few
@given(anything(), positions)
def test_pure_readable_and_picklable(s, pos):
    value = s(pos)
    assert type(value) is float
    assert math.isfinite(value)
    s(1 - pos)
    assert s(pos) == value
    again = eval(repr(s), dict(vars(schedules)))
    assert again == s
    assert hash(again) == hash(s)
    assert again(pos) == value
    assert pickle.loads(pickle.dumps(s))(pos) == value


@few
@given(positive, shares, positions, positions)
def test_one_cycle_rises_then_falls(lr_max, pct_start, a, b):
    f = one_cycle(lr_max, pct_start=pct_start)
    a, b = sorted((a, b))
    slack = 1e-12 * lr_max
    if b <= pct_start:
        assert f(a) <= f(b) + slack
    if a >= pct_start:
        assert f(a) >= f(b) - slack
    assert f(pct_start) == lr_max
    assert (f(0), f(1)) == (lr_max / 25, lr_max / 1e5)


@few
@given(anything(), shares, numbers)
def test_warmup_runs_all_of_the_schedule(s, share, start):
    assume(">>" not in repr(s))  # it would be taken apart
    f = warmup(share, start) >> s
    assert (f(0), f(share), f(1)) == (start, s(0), s(1))


@few
@given(st.integers(1, 8), st.floats(1, 4), numbers, numbers)
def test_restarts_grow_by_mult(cycles, mult, high, low):
    assume(high != low)
    f = warm_restarts(high, low, cycles=cycles, mult=mult)
    lengths = [mult**i for i in range(cycles)]
    joins = [sum(lengths[:i]) / sum(lengths) for i in range(cycles)]
    assert [f(join) for join in joins] == [high] * cycles
    assert f(1) == low


@few
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_shares_that_do_not_sum_to_one_are_refused(pcts):
    assume(not math.isclose(math.fsum(pcts), 1, rel_tol=1e-8))
    with pytest.raises(ValueError, match="pcts must sum to 1; got"):
        combine_scheds(pcts, [constant(1)] * len(pcts))

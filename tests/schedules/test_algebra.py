"""Schedules made of others: what they are, how they print, and what is refused."""

import copy
import pickle

import pytest

from lehr.schedules import Schedule, combine_scheds, constant, cosine, linear, warmup
from lehr.schedules.algebra import Part, PerGroup, expression, whole


def values(schedule, n=20):
    return [schedule(i / n) for i in range(n + 1)]


def test_a_chain_is_what_combine_scheds_makes_of_the_shares():
    parts = [cosine(0.3, 0.6), cosine(0.6, 0.2)]
    assert values(parts[0].over(0.3) >> parts[1]) == values(combine_scheds([0.3, 0.7], parts))
    assert values(parts[0] >> parts[1]) == values(combine_scheds([0.5, 0.5], parts))
    assert values(parts[0] >> parts[1]) != values(combine_scheds([0.3, 0.7], parts))


def test_a_warm_up_ends_where_the_next_phase_begins_wherever_it_stands():
    f = warmup(0.2) >> constant(2).over(0.2) >> warmup(0.2, start=5) >> linear(3, 0)
    assert [f(pos) for pos in (0, 0.1, 0.2, 0.4)] == [0, 1, 2, 5]
    assert f(0.5) == pytest.approx(4)
    assert (f(0.6), f(1)) == (3, 0)


def test_phases_without_a_share_divide_what_is_left_equally():
    f = constant(1).over(0.4) >> constant(2) >> constant(3)
    assert [f(pos) for pos in (0.39, 0.41, 0.69, 0.71)] == [1, 2, 2, 3]


def test_shares_that_fill_the_whole_need_no_other_phase():
    f = constant(1).over(0.3) >> constant(2).over(0.7)
    assert (f(0.29), f(0.31)) == (1, 2)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("warmup(0.05) >> sched_cos(0.001, 0)", warmup(0.05) >> cosine(1e-3, 0)),
        ("warmup(0.05, 0.1) >> constant(1)", warmup(0.05, start=0.1) >> constant(1)),
        ("constant(1) + constant(2) + constant(3)", constant(1) + constant(2) + constant(3)),
        ("constant(1) + (constant(2) + constant(3))", constant(1) + (constant(2) + constant(3))),
        ("2 * constant(1)", constant(1) * 2),
        ("-2 * constant(1) + 0.5", -2 * constant(1) + 0.5),
        ("2 * (constant(1) + constant(2))", 2 * (constant(1) + constant(2))),
        ("2 * (constant(1) >> constant(2))", 2 * (constant(1) >> constant(2))),
        ("2 * constant(1) >> constant(2)", 2 * constant(1) >> constant(2)),
        ("2 * (3 * constant(1))", 2 * (3 * constant(1))),
        ("2 * constant(1) * constant(3)", 2 * constant(1) * constant(3)),
        ("(2 * constant(1)).over(0.5) >> constant(3)", (2 * constant(1)).over(0.5) >> constant(3)),
        ("constant(1).over(0.25) >> constant(3)", constant(1).over(0.25) >> constant(3)),
        ("(constant(1) + constant(2)).rounded(4)", (constant(1) + constant(2)).rounded(4)),
        ("constant(1).rounded()", constant(1).rounded()),
        ("sched_lin(1, 0).per_group([0.1, 1])", linear(1, 0).per_group([0.1, 1])),
        ("0 + constant(1) + constant(2)", sum([constant(1), constant(2)])),
    ],
)
def test_it_prints_as_the_expression_that_makes_it(text, schedule):
    assert repr(schedule) == str(schedule) == text
    assert copy.deepcopy(schedule) == pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(copy.copy(schedule)) == hash(schedule)


def test_another_expression_is_another_schedule():
    a, b = constant(1), constant(2)
    assert a + b != b + a
    assert 2 * a != 3 * a
    assert a.rounded(2) != a.rounded(3)
    assert a.per_group([1]) != a.per_group([2])


def test_a_plain_function_may_take_part():
    def plain(pos):
        return pos / 2

    f = warmup(0.5) >> plain
    assert (f(1), repr(f).split(" >> ")[0]) == (0.5, "warmup(0.5)")
    assert (plain >> constant(1))(0.25) == 0.25
    assert (plain + constant(1))(0.5) == (constant(1) + plain)(0.5) == 1.25
    assert (plain * constant(3))(1) == 1.5


def test_rounded_takes_the_nearest_multiple_halves_up():
    f = linear(0, 4).rounded()
    assert [f(pos) for pos in (0, 0.1, 0.124, 0.125, 0.375, 0.625, 1)] == [0, 0, 0, 1, 2, 3, 4]
    assert linear(-1, 0).rounded()(0.5) == 0
    assert linear(100, 230).rounded(32)(1) == 224


def test_each_group_has_its_factor():
    f = linear(1, 0).per_group([0.1, 1])
    assert [repr(one) for one in f.groups] == ["0.1 * sched_lin(1, 0)", "1 * sched_lin(1, 0)"]
    assert linear(1, 0).groups == ()
    assert isinstance(f.function, PerGroup)


def test_a_picture_has_a_line_for_each_group():
    figure = linear(1, 0).per_group([0.1, 1]).plot()
    assert [line.get_label() for line in figure.axes[0].lines] == ["group 0", "group 1"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: warmup(0.1)(0), ValueError, r"only a phase that takes 0\.1 .* Chain it with"),
        (lambda: constant(1).over(0.5)(0), ValueError, r"only a phase that takes 0\.5"),
        (lambda: (constant(1) >> warmup(0.1))(0), ValueError, r"its last phase needs another"),
        (lambda: (constant(1).over(0.5) >> constant(2).over(0.2))(0), ValueError, "sum to less"),
        (lambda: warmup(0.1) + constant(1), ValueError, "only a phase"),
        (lambda: 2 * warmup(0.1), ValueError, "only a phase"),
        (lambda: constant(1) * warmup(0.1), ValueError, "only a phase"),
        (lambda: warmup(0.1).over(0.2), ValueError, "only a phase"),
        (lambda: (constant(1) >> warmup(0.1)).rounded(), ValueError, "not a whole schedule yet"),
        (lambda: combine_scheds([1], [warmup(0.1)]), ValueError, "only a phase"),
        (lambda: linear(1, 0).per_group([1])(0), ValueError, "has 1 values at a position, not one"),
        (lambda: 2 * linear(1, 0).per_group([1]), ValueError, "schedule per group has"),
        (lambda: constant(1) >> linear(1, 0).per_group([1]), ValueError, "schedule per group has"),
        (lambda: linear(1, 0).per_group([]), TypeError, r"factors must be a list .*; got \[\]"),
        (lambda: linear(1, 0).per_group(3), TypeError, r"factors must be a list .*; got 3"),
        (lambda: linear(1, 0).per_group(["a"]), TypeError, r"factors\[0\] must be a real number"),
        (lambda: constant(1).over(1.0), ValueError, r"share must be between 0 and 1, .*; got 1\."),
        (lambda: constant(1).over("a"), TypeError, "share must be a real number"),
        (lambda: constant(1).rounded(0), ValueError, r"to must be above 0; got 0\. Give"),
        (lambda: constant(1) >> 0.5, TypeError, r"a phase must be a schedule; got 0\.5\. Use"),
        (lambda: 0.5 >> constant(1), TypeError, "a phase must be a schedule"),
        (lambda: constant(1) + "a", TypeError, "added to or multiplied by must be a schedule"),
        (lambda: constant(1) * float("nan"), ValueError, "number in a schedule must be finite"),
        (lambda: constant(1) * True, TypeError, "number in a schedule must be a real number"),
        (
            lambda: constant(1).over(0.7) >> constant(1).over(0.7),
            ValueError,
            r"must fit into it; got shares \[0\.7, 0\.7\], which sum to 1\.4\. Give smaller",
        ),
        (
            lambda: constant(1).over(0.5) >> constant(1).over(0.5) >> constant(1),
            ValueError,
            "which sum to 1, and 1 more without a share",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_whole_lets_other_functions_pass():
    assert whole("it", abs) is abs
    assert isinstance(warmup(0.1), Schedule)
    assert isinstance(warmup(0.1).function, Part)
    assert expression(abs) == "abs"

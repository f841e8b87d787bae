import math

import pytest

from lehr.cli.chart import chart

RAMP = [i / 100 for i in range(101)]


def heights(drawing):
    """The lines, from the bottom, that hold a dot in each column."""
    rows = [line.split("┤")[1] for line in drawing.splitlines()[:-1]][::-1]
    return [[i for i, row in enumerate(rows) if row[c] != "\u2800"] for c in range(len(rows[0]))]


def test_a_ramp_rises_from_corner_to_corner():
    found = heights(chart(RAMP, RAMP, width=20, height=10))
    assert (found[0][0], found[-1][-1]) == (0, 9)
    assert [max(column) for column in found] == sorted(max(column) for column in found)


def test_every_column_has_a_dot_also_where_points_are_sparse():
    assert all(heights(chart([0, 1, 10], [0, 1, 0], width=30, height=5)))


def test_a_jump_is_joined():
    found = heights(chart(RAMP, [float(x > 0.5) for x in RAMP], width=20, height=8))
    assert {line for column in found for line in column} == set(range(8))


def test_the_axes_name_their_ends():
    lines = chart([1e-4, 1e-2, 1.0], [3.0, 1.0, 2.0], width=30, height=4, log_x=True).splitlines()
    assert lines[0].startswith("3 ┤")
    assert lines[3].startswith("1 ┤")
    assert lines[4].split() == ["0.0001", "1"]
    assert len(lines) == 5
    assert max(heights("\n".join(lines))[15]) == 0  # 1e-2 is in the middle of a logarithmic axis


def test_what_is_outside_the_limits_or_not_finite_is_left_out():
    ys = [math.nan if x > 0.8 else 10 * x for x in RAMP]
    found = heights(chart(RAMP, ys, width=20, height=5, limits=(0, 4)))
    assert all(found[:7])
    assert not any(found[9:])


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_a_constant_is_a_straight_line(value):
    found = heights(chart(RAMP, [value] * 101, width=10, height=5))
    assert found == [[2]] * 10

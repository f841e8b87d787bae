"""Shares of a chain, and curves one after another."""

import math

import pytest

from lehr.schedules.chain import divided, in_turn


def test_what_is_left_is_divided_equally():
    assert divided([0.25, None, 0.25, None]) == [0.25, 0.25, 0.25, 0.25]
    assert divided([None]) == [1]
    assert math.fsum(divided([0.1, None, None, None])) == pytest.approx(1, abs=1e-15)


def test_something_left_that_nobody_takes_is_none():
    assert divided([0.25, 0.5]) is None
    assert divided([0.3, 0.7]) == [0.3, 0.7]
    assert divided([0.1] * 10) == [0.1] * 10  # which sum to 1 but for the last bit


@pytest.mark.parametrize("shares", [[0.5, 0.6], [0.5, 0.5, None], [0.9, 0.9, None]])
def test_more_than_the_whole_is_refused(shares):
    with pytest.raises(ValueError, match="the phases of a schedule must fit into it; got shares"):
        divided(shares)


def test_curves_run_from_their_own_beginning_to_their_own_end():
    f = in_turn([0.5, 0.5], [lambda pos: pos, lambda pos: 10 + pos])
    assert [f(pos) for pos in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 10, 10.5, 11]
    assert f(0.5 - 1e-13) == 10  # it counts as there
    assert f(0.5 - 1e-9) < 1

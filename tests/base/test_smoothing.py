import math

import pytest

from lehr.base.smoothing import smooth


def test_straight_lines_stay_and_noise_weakens():
    line = [float(i) for i in range(40)]
    assert smooth(line, 2.0)[8:-8] == pytest.approx(line[8:-8])
    zigzag = [(-1.0) ** i for i in range(40)]
    assert max(abs(v) for v in smooth(zigzag, 2.0)[8:-8]) < 0.01
    assert max(abs(v) for v in smooth(zigzag, 0.3)) > 0.9


def test_constants_stay_up_to_the_ends_and_nothing_lags():
    assert smooth([2.0] * 9, 3.0) == pytest.approx([2.0] * 9)
    step = smooth([0.0] * 20 + [1.0] * 20, 2.0)
    assert step[19] + step[20] == pytest.approx(1)


def test_it_is_the_gaussian_average_written_out():
    values = [math.sin(i * i) for i in range(30)]
    found = smooth(values, 1.5)
    for i in (0, 3, 17, 29):
        weights = [math.exp(-(((j - i) / 1.5) ** 2) / 2) * (abs(j - i) <= 5) for j in range(30)]
        by_hand = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        assert found[i] == pytest.approx(by_hand)


def test_what_is_not_finite_stays_out():
    found = smooth([1.0, math.nan, 1.0, math.inf, 1.0], 1.0)
    assert [math.isnan(v) for v in found] == [False, True, False, True, False]
    assert found[0] == found[2] == 1


def test_few_values():
    assert smooth([], 2.0) == []
    assert smooth([3.0], 2.0) == [3.0]
    assert smooth([0.0, 1.0], 1e6) == pytest.approx([0.5, 0.5])

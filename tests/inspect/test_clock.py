"""What a clock has counted sums to what has passed."""

from itertools import count
from types import SimpleNamespace

import pytest

from lehr.inspect import clock as clocks
from lehr.inspect.clock import DATA, LOOP, Clock


def ticking():
    ticks = count()
    return Clock(now=lambda: float(next(ticks)))


def test_the_innermost_account_is_counted_for():
    clock = ticking()
    outer, inner = ("callback", "Outer"), ("action", "step")
    clock.timed(outer, clock.timed(inner, clock.timed(inner, lambda: None)))()
    seconds = {share.name: share.seconds for share in clock.shares()}
    assert seconds == {"the loop itself": 2.0, "Outer": 2.0, "step": 3.0}


def test_an_error_ends_the_account_too():
    clock = ticking()
    with pytest.raises(ZeroDivisionError):
        clock.timed(DATA, lambda: 1 / 0)()
    clock.timed(("action", "step"), lambda: None)()
    assert {share.name for share in clock.shares()} == {*(LOOP[1:]), *DATA[1:], "step"}
    assert sum(share.seconds for share in clock.shares()) == 6.0  # it stands still meanwhile


def test_a_restart_forgets():
    clock = ticking()
    clock.timed(DATA, lambda: None)()
    clock.restart()
    assert [share.name for share in clock.shares()] == ["the loop itself"]


def test_arguments_and_results_pass():
    assert ticking().timed(DATA, lambda a, b: a + b)(1, 2) == 3


def test_what_a_device_did_is_counted_by_marks_in_its_queue(monkeypatch):
    class Mark:
        queue = count(0, 10)

        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(self.queue)

        def elapsed_time(self, other):
            return float(other.at - self.at)

    monkeypatch.setattr(clocks, "cuda", SimpleNamespace(Event=Mark, synchronize=lambda: None))
    ticks = count()
    clock = Clock("cuda", now=lambda: float(next(ticks)))
    clock.timed(DATA, lambda: None)()
    on_device = {share.name: share.device_seconds for share in clock.shares()}
    assert on_device == {"waiting for data": 0.01, "the loop itself": 0.02}
    assert clock.lag == 1.0
    assert ticking().shares()[0].device_seconds is None  # the control

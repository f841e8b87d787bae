"""A log that is handed batches and rows; what it has in common with `JSONLLog` is tested there."""

import errno
import signal

import pytest

from lehr import Callback, Phase
from lehr.callbacks.log import step_log
from lehr.callbacks.log.step_log import StepLog
from lehr.testing import tiny_learner


class Handed(StepLog, Callback):
    state = ("written",)

    def __init__(self, path):
        super().__init__(path)
        self.handed = []

    def write_entries(self, run, steps, rows, *, last):
        self.handed.append(([step["batch"] for step in steps], len(rows), last))

    @property
    def batches(self):
        return [batch for batches, _, _ in self.handed for batch in batches]


def test_batches_come_before_the_row_that_follows_them(tmp_path):
    log = Handed(tmp_path / "log")
    tiny_learner([log]).fit(2)
    assert log.handed == [([0, 1, 2, 3], 1, False), ([4, 5, 6, 7], 1, False), ([], 0, True)]


def test_they_come_earlier_when_time_is_up_but_for_the_batch_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(step_log, "_SECONDS", -1.0)
    log = Handed(tmp_path / "log")
    tiny_learner([log]).fit(1)
    assert [batches for batches, _, _ in log.handed] == [[], [0], [1], [2], [3], []]


class Full(Callback):
    """A clock that goes on by 5 seconds with each batch, and a disk that is full for a while."""

    phase = Phase.PREPARE
    state = ()

    def __init__(self, monkeypatch, until):
        self.now, self.until, self.tried = 0.0, until, []
        monkeypatch.setattr(step_log, "monotonic", lambda: self.now)

    def after_batch(self, run):
        self.now += 5.0
        self.done = run.n_iter

    def write(self):
        self.tried.append(self.done)
        if self.done < self.until:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_what_could_not_be_written_is_tried_again_later_and_later(tmp_path, monkeypatch):
    full = Full(monkeypatch, until=10)

    class Tries(Handed):
        def write_entries(self, run, steps, rows, *, last):
            full.write()
            super().write_entries(run, steps, rows, last=last)

    log = Tries(tmp_path / "log")
    with pytest.warns(UserWarning, match=r"No space left on device The fit goes on") as caught:
        tiny_learner([log, full], items=8 * 20).fit(1)
    assert len(caught) == 1
    assert full.tried == [1, 3, 7, 15, 16, 17, 18, 19, 20, 20, 20]
    assert log.batches == list(range(20))
    assert log.handed[0][0] == list(range(14))  # the one under way comes later


def test_what_waits_for_a_disk_takes_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(step_log, "_MOST_WAITING", 8)
    full = Full(monkeypatch, until=20)

    class Tries(Handed):
        def write_entries(self, run, steps, rows, *, last):
            full.write()
            super().write_entries(run, steps, rows, last=last)

    log = Tries(tmp_path / "log")
    with pytest.warns(UserWarning, match="No space left on device"):
        tiny_learner([log, full], items=8 * 20).fit(1)
    written = log.batches
    assert 4 <= len(written) <= 8
    assert written == sorted(written)


@pytest.mark.parametrize("place", ["take", "write"])
def test_an_interrupt_loses_no_batch(tmp_path, monkeypatch, place):
    monkeypatch.setattr(step_log, "_SECONDS", -1.0)
    presses = []

    def press(run):
        if run.training and run.n_iter == 3 and not presses:
            presses.append(run.n_iter)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    class Pressed(Handed):
        def write_entries(self, run, steps, rows, *, last):
            if place == "write":
                press(run)
            super().write_entries(run, steps, rows, last=last)

        def after_batch(self, run):
            if place == "take":
                real = self._tap.take
                self._tap.take = lambda before=99: (real(before), press(run))[0]
            super().after_batch(run)

    log = Pressed(tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        tiny_learner([log], items=8 * 6).fit(1)
    assert presses == [3]
    assert log.batches == [0, 1, 2]


def test_the_other_half_must_be_there(tmp_path):
    class Half(StepLog, Callback):
        state = ("written",)

    with pytest.raises(NotImplementedError, match="Half has no write_entries"):
        tiny_learner([Half(tmp_path / "log")]).fit(1)

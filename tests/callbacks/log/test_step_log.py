"""A log that is handed batches and rows; what it has in common with `JSONLLog` is tested there."""

import pytest

from lehr import Callback
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


def test_batches_come_before_the_row_that_follows_them(tmp_path):
    log = Handed(tmp_path / "log")
    tiny_learner([log]).fit(2)
    assert log.handed == [([0, 1, 2, 3], 1, False), ([4, 5, 6, 7], 1, False), ([], 0, True)]


def test_they_come_earlier_when_time_is_up_but_for_the_batch_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(step_log, "_SECONDS", -1.0)
    log = Handed(tmp_path / "log")
    tiny_learner([log]).fit(1)
    assert [batches for batches, _, _ in log.handed] == [[], [0], [1], [2], [3], []]


def test_the_other_half_must_be_there(tmp_path):
    class Half(StepLog, Callback):
        state = ("written",)

    with pytest.raises(NotImplementedError, match="Half has no write_entries"):
        tiny_learner([Half(tmp_path / "log")]).fit(1)

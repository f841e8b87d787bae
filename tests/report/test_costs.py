"""What a run cost."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from torch import nn

from lehr import Callback
from lehr.callbacks import Timer
from lehr.report import RunFolder, RunRecord
from lehr.report import costs as costs_module
from lehr.report.costs import WORDS, cost_rows, costs, memory, together
from lehr.report.page import report
from lehr.testing import tiny_learner


def test_a_folder_keeps_seconds_and_memory_and_its_page_shows_them(tmp_path):
    learn = tiny_learner([Timer()])
    with RunFolder.create(tmp_path / "run").keep(learn, {}):
        learn.fit(1)
    record = RunRecord.read(tmp_path / "run")
    assert set(record.config["seconds"]) == set(WORDS)
    assert record.config["memory"]["main memory"] > 2**20
    page = report(record)
    assert all(words in page for words in ["waiting for training batches", "the most memory"])


def test_a_run_that_is_gone_on_with_has_cost_all_of_it():
    then = {"seconds": {"data": 1.0, "rest": 2.0}, "memory": {"main memory": 7, "cuda:0": 5}}
    now = {"seconds": {"data": 4.0}, "memory": {"main memory": 6}}
    both = together(then, now)
    assert both["seconds"] == {"data": 5.0, "rest": 2.0}
    assert both["memory"] == {"main memory": 7, "cuda:0": 5}
    assert together({}, {"seconds": None, "memory": {}}) == {"seconds": None, "memory": {}}


def test_without_a_timer_there_is_memory_alone():
    learn = tiny_learner()
    kept = costs(learn.fit(1), learn.model)
    assert kept["seconds"] is None
    assert [row[0] for row in cost_rows(kept)] == [f"the most memory, {p}" for p in kept["memory"]]


def test_a_run_that_never_began_has_cost_no_seconds():
    assert costs(None, nn.Linear(1, 1))["seconds"] is None


def test_memory_is_in_bytes_whatever_the_system_counts_in(monkeypatch):
    resource = pytest.importorskip("resource")
    usage = SimpleNamespace(ru_maxrss=3)
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    for system, size in (("linux", 3 * 1024), ("darwin", 3)):
        monkeypatch.setattr(costs_module.sys, "platform", system)
        assert memory(nn.Linear(1, 1)) == {"main memory": size}


class Fails(Callback):
    state = ()

    @contextmanager
    def around_fit(self, run):
        raise ValueError("no scope")
        yield


def test_a_fit_that_fails_before_the_clock_starts_keeps_its_weights_and_its_error(tmp_path):
    learn, folder = tiny_learner([Fails(), Timer()]), RunFolder.create(tmp_path / "run")
    with pytest.raises(ValueError, match="no scope"), folder.keep(learn, {}):
        learn.fit(1)
    record = RunRecord.read(folder.path)
    assert (record.status, record.config["seconds"]) == ("failed", None)
    assert record.weights is not None


@pytest.mark.parametrize(
    "damaged",
    [
        {"seconds": 3, "memory": []},
        {"seconds": {"data": "1"}, "memory": {"cpu": None}},
        {"seconds": {"data": -1.0, "elsewhere": 2.0}, "memory": {"x": 1e308}},
        {},
    ],
)
def test_what_is_damaged_is_left_out(damaged):
    assert cost_rows(damaged) == []


def test_no_seconds_at_all_are_no_division_by_zero():
    assert cost_rows({"seconds": {"data": 0.0}}) == [
        ("waiting for training batches", "0 ms, 0.0 %")
    ]

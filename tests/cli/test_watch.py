"""``lehr watch``: what another process writes is shown as it comes."""

import itertools
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lehr import cli
from lehr.cli import watch
from lehr.cli.watch import newest_run
from lehr.state import streams

EPOCHS = 3
REFRESHES = re.compile(r'<meta http-equiv="refresh" content="\d+">')


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that is over."""
    out = tmp_path_factory.mktemp("run") / "whole"
    words = ["train", "digits", "--model", "linear", "--epochs", str(EPOCHS), "--out", str(out)]
    with streams.forked():
        assert CliRunner().invoke(cli.app, words, prog_name="lehr").exit_code == 0
    return out


@pytest.fixture
def whole(trained):
    """A copy of it in the working folder."""
    return Path(shutil.copytree(trained, "whole"))


class Training:
    """A run folder that grows with every sleep of who watches it, as if a process wrote it."""

    def __init__(self, whole, path="runs/live"):
        self.whole, self.path = whole, Path(path)
        self.path.mkdir(parents=True)
        self.clock = itertools.count(time.time())  # files have dates of their own
        shutil.copy(whole / "environment.json", self.path)
        self.config = json.loads((whole / "config.json").read_text())
        self.status("running")
        self.pages = []
        lines = (whole / "history.jsonl").read_text().splitlines(keepends=True)
        ends = [i + 1 for i, line in enumerate(lines) if '"kind": "row"' in line]
        parts = ["".join(lines[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
        self.todo = [lambda part=part: self.write(part) for part in parts]
        self.todo.append(self.end)

    def dated(self, file):
        now = next(self.clock)
        os.utime(file, (now, now))

    def status(self, status):
        file = self.path / "config.json"
        file.write_text(json.dumps({**self.config, "status": status}))
        self.dated(file)

    def write(self, part):
        file = self.path / "history.jsonl"
        file.write_text((file.read_text() if file.exists() else "") + part)
        self.dated(file)

    def end(self):
        shutil.copy(self.whole / "report.html", self.path)  # as the training itself does
        self.status("finished")

    def sleep(self, seconds):
        page = self.path / "report.html"
        self.pages.append(page.read_text() if page.exists() else None)
        self.todo.pop(0)()


@pytest.fixture
def training(whole, monkeypatch):
    live = Training(whole)
    monkeypatch.setattr(watch, "sleep", live.sleep)
    monkeypatch.setattr(watch, "_SHARE", 0)  # a look is not delayed by what the last one took
    return live


def test_rows_are_shown_as_they_come_and_then_the_end(succeed, training):
    lines = succeed("watch", "runs/live").splitlines()
    assert lines[0] == "digits · linear, in runs/live"
    assert lines[1] == "report: runs/live/report.html (refreshes itself in a browser)"
    assert lines[2].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert [line.split()[0] for line in lines[3:6]] == ["0", "1", "2"]
    assert lines[6].startswith(f"Finished after {EPOCHS} epochs")
    assert lines[7:] == ["report: runs/live/report.html"]


def test_the_report_follows_and_refreshes_itself_until_the_end(succeed, training):
    succeed("watch", "runs/live")
    assert len(training.pages) == EPOCHS + 1
    assert all(REFRESHES.search(page) for page in training.pages)
    rows = [len(re.findall(r'<th scope="row">\s*<span[^>]*>\d+</span>', p)) for p in training.pages]
    assert rows == [0, 1, 2, 3]
    last = (training.path / "report.html").read_text()
    assert not REFRESHES.search(last)
    assert "Finished" in last


def test_the_report_is_opened_in_a_browser_if_that_is_asked_for(succeed, training, monkeypatch):
    opened = []
    monkeypatch.setattr(
        watch.webbrowser, "open", lambda where: opened.append((where, len(training.pages)))
    )
    succeed("watch", training.path, "--open")
    page = (training.path / "report.html").resolve()
    assert [where for where, _ in opened] == [page.as_uri()]
    assert page.is_file()


def test_without_a_page_nothing_is_written(succeed, training):
    training.end = lambda: training.status("finished")
    training.todo[-1] = training.end
    before = {"config.json", "environment.json"}
    lines = succeed("watch", "runs/live", "--no-page").splitlines()
    assert {file.name for file in training.path.iterdir()} == {*before, "history.jsonl"}
    assert lines[1].split()[0] == "epoch"
    assert lines[-1].startswith("Finished")


def test_a_run_that_is_over_is_shown_and_left_alone(succeed, whole):
    page = whole / "report.html"
    page.write_text("mine")
    lines = succeed("watch", whole).splitlines()
    assert len(lines) == 1 + 1 + EPOCHS + 2
    assert page.read_text() == "mine"


def test_without_a_name_it_is_the_newest_run(succeed, refused, whole):
    message = refused("watch", code=2)
    assert message == "there is no run folder in runs. Give the path of one: lehr watch RUN."
    for name, age in (("b", 100), ("c", 0), ("a", 50)):
        shutil.copytree(whole, Path("runs", name))
        moment = time.time() - age
        os.utime(Path("runs", name, "environment.json"), (moment, moment))
    assert newest_run() == Path("runs/c")
    assert succeed("watch").startswith("digits · linear, in runs/c\n")


def test_a_run_that_went_back_shows_what_it_made_anew(succeed, training):
    first, second, third, end = training.todo

    def back():
        (training.path / "history.jsonl").write_text("")
        first()

    training.todo[:] = [first, second, back, second, third, end]
    lines = succeed("watch", "runs/live").splitlines()
    assert [line.split()[0] for line in lines[3:9]] == ["0", "1", "the", "1", "2", "Finished"]
    assert lines[5] == "the run went back to its row 1"


def test_where_it_is_told_by_what_was_written_last(whole, training, monkeypatch):
    from lehr.report import RunRecord

    record = RunRecord.read(whole)
    monkeypatch.setattr(watch, "time", lambda: 1000.0)
    told = watch._last_words(record, (900.0, 997.0))
    assert re.fullmatch(
        r"running: [\d,]+ batches, loss \d\.\d+, lr [\d.e-]+, written 3 s ago", told
    )
    told = watch._last_words(record, (900.0, 400.0))
    assert told.startswith("running, if it was not killed: ")
    assert told.endswith("written 1 min 40 s ago")


def test_a_folder_that_is_no_run_is_refused(refused):
    assert refused("watch", "nowhere", code=1).startswith("nowhere is no run folder")


def test_a_page_is_not_drawn_all_the_time(training, monkeypatch):
    from lehr.report import RunRecord

    now = iter([0.0, 2.0, 10.0, 30.0, 31.0])
    monkeypatch.setattr(watch, "_SHARE", 10)
    monkeypatch.setattr(watch, "monotonic", lambda: next(now))
    page = watch._Page(training.path / "report.html")
    page.show(RunRecord.read(training.path))  # takes two seconds
    page.file.unlink()
    page.show(RunRecord.read(training.path))
    assert not page.file.exists()
    page.show(RunRecord.read(training.path))
    assert page.file.exists()


@pytest.mark.slow
def test_a_training_is_watched_from_another_process_and_goes_on_when_that_is_stopped(nursery):
    epochs = 80
    settings = ("--model", "linear", "--epochs", str(epochs), "--out", "runs/live")
    training = nursery.start("train", "digits", *settings)
    try:
        while not Path("runs/live/history.jsonl").exists():
            time.sleep(0.05)
        first = nursery.start("watch")
        seen = [first.stdout.readline() for _ in range(4)]
        os.kill(first.pid, signal.SIGINT)
        first.communicate()
        assert first.wait() == 130
        assert seen[-1].split()[0] == b"0"
        second = nursery.run("watch")
        assert second.returncode == 0
        rows = re.findall(rb"^ *(\d+) +\d", second.stdout, re.M)
        assert [int(row) for row in rows] == list(range(epochs))
        assert second.stdout.splitlines()[-1] == b"report: runs/live/report.html"
        training.communicate()
        assert training.wait() == 0
    except BaseException:
        os.kill(training.pid, signal.SIGKILL)
        raise
    assert not REFRESHES.search(Path("runs/live/report.html").read_text())

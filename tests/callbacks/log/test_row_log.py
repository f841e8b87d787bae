"""Every finished row is handed to a file, once."""

import errno
import itertools
import json
import shutil
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from lehr import Callback
from lehr.callbacks import CSVLog, JSONLLog
from lehr.callbacks.log import step_log
from lehr.callbacks.log.row_log import RowLog
from lehr.events import Phase
from lehr.record import log_file
from lehr.record.history import History
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture, restore
from lehr.testing import tiny_learner


class Rows(RowLog, Callback):
    """Notes what it is handed."""

    phase = Phase.REPORT
    replays = False
    state = ("written",)

    def begin_fit(self, run):
        super().begin_fit(run)
        self.seen = []

    def write_rows(self, run, rows):
        self.seen.append([(row.get("epoch"), row.get("late")) for row in rows])
        self.file.write("row\n" * len(rows))


class Late(Callback):
    phase = Phase.REPORT
    replays = False

    def after_epoch(self, run):
        run.log("late", run.epoch + 0.5)

    def after_fit(self, run):
        run.log("late", 9)


def test_every_finished_row_is_handed_over_once_with_what_came_late(tmp_path):
    rows = Rows(tmp_path / "log")
    learn = tiny_learner([rows, Late()])
    learn.fit(2)
    assert rows.seen == [[(0, 0.5)], [(1, 1.5)], [(None, 9)]]
    assert rows.file.read() == "row\n" * 3
    learn.fit(1)  # counts anew, and goes on in the same file
    assert rows.seen == [[(0, 0.5)], [(None, 9)]]
    assert rows.file.read() == "row\n" * 5
    learn.fit(1, validate_every="3 steps")  # a row in the middle of the epoch is one, too
    assert [len(some) for some in rows.seen] == [1, 1, 1]


def test_without_the_other_half_it_speaks(tmp_path):
    class Half(RowLog, Callback):
        pass

    with pytest.raises(NotImplementedError, match=r"Half has no write_rows, .*Define write_rows"):
        tiny_learner([Half(tmp_path / "log")]).fit(1)


def test_it_is_named_after_its_class(tmp_path):
    assert repr(Rows("runs/log")) == "Rows('runs/log')"
    with pytest.raises(FileNotFoundError, match="Rows cannot write"):
        tiny_learner([Rows(tmp_path / "gone" / "log")]).fit(1)


class Play:
    """A run of a log, told by hand: a row for every digit, in a process of its own."""

    def __init__(self, path, kind=Rows, resuming=False):
        self.log, self.undos = kind(path), []
        self.run = SimpleNamespace(
            history=History(), resuming=resuming, defer=self.undos.append, n_iter=0, training=True
        )
        self.run.history.meta["seed"] = 0
        self.entries = {"history": self.run.history, "log": self.log}
        self.log.begin_fit(self.run)

    def play(self, rows):
        for row in rows:
            self.run.history.open_row(epoch=int(row), seconds=0.5)
            self.log.after_epoch(self.run)
            self.undos.pop()()
        return self

    def resume(self, snapshot):
        restore(self.entries, snapshot)
        self.run.resuming = False
        return self


@pytest.mark.parametrize("stop", range(4))
@pytest.mark.parametrize("lost", range(3))
def test_every_row_is_there_once_over_any_number_of_resumes(tmp_path, stop, lost):
    path = tmp_path / "log"
    first = Play(path).play("0123"[:stop])
    snapshot = capture(first.entries)
    first.play("0123"[stop : stop + lost])  # and then it is killed
    second = Play(path, resuming=True).resume(snapshot)
    assert first_difference(snapshot, capture(second.entries)) is None
    second.play("0123"[stop:])
    assert path.read_text() == "row\n" * 4
    second.resume(snapshot).play("0123"[stop:])  # back in the same process
    assert path.read_text() == "row\n" * 4
    seen = [pair for part in second.log.seen for pair in part]
    assert seen[: 4 - stop] == [(row, None) for row in range(stop, 4)]


def test_a_log_that_joins_a_resumed_run_begins_its_file(tmp_path):
    first = Play(tmp_path / "log").play("01")
    history = capture({"history": first.run.history})
    late = Play(tmp_path / "late", resuming=True)
    late.run.history.load_state_dict(history["history"])
    late.run.resuming = False
    late.play("23")
    assert (tmp_path / "late").read_text() == "row\n" * 4
    (tmp_path / "mine").write_text("mine")
    late = Play(tmp_path / "mine", resuming=True)
    late.run.resuming = False
    with pytest.raises(FileExistsError, match="Rows does not overwrite"):
        late.play("2")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_probe_leaves_no_lines(tmp_path):
    rows = Rows(tmp_path / "log")
    learn = tiny_learner([rows])
    learn.fit(1)
    with learn.probe():
        learn.fit(2)
        assert rows.file.read() == "row\n" * 3
    assert rows.file.read() == "row\n"
    rows.file.path.unlink()
    with learn.probe():
        pass


# A disk that is full --------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch):
    """A scope in which no file in a folder can be written."""

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def scope():
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.open", refuse)
            patch.setattr(log_file, "replace_file", refuse)
            patch.setattr("os.fsync", refuse)
            yield

    return scope


KINDS = [Rows, CSVLog, JSONLLog]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_one_warning_and_nothing_is_missing_when_there_is_room(
    tmp_path, kind, full_disk
):
    straight = Play(tmp_path / "straight", kind).play("0123")
    log = Play(tmp_path / "log", kind).play("0")
    before = (tmp_path / "log").read_bytes()
    with full_disk(), pytest.warns(UserWarning, match=r"no space left.*The fit goes on") as caught:
        log.play("12")
    assert len(caught) == 1
    assert (tmp_path / "log").read_bytes() == before
    log.play("3")
    assert (tmp_path / "log").read_bytes() == (tmp_path / "straight").read_bytes()
    assert (tmp_path / "log").read_bytes() != before
    assert straight.log.written == log.log.written


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_full_disk_did_not_take_is_written_after_a_resume(tmp_path, kind, full_disk):
    Play(tmp_path / "straight", kind).play("0123")
    first = Play(tmp_path / "log", kind).play("0")
    with full_disk():
        with pytest.warns(UserWarning, match="no space left"):
            first.play("12")
        snapshot = capture(first.entries)
    assert (tmp_path / "log").read_bytes() != (tmp_path / "straight").read_bytes()
    Play(tmp_path / "log", kind, resuming=True).resume(snapshot).play("3")
    assert (tmp_path / "log").read_bytes() == (tmp_path / "straight").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_ends_well_whose_folder_is_gone(tmp_path, kind):
    (tmp_path / "logs").mkdir()

    class Remove(Callback):
        def begin_epoch(self, run):
            if run.epoch == 1:
                shutil.rmtree(tmp_path / "logs")

    learn = tiny_learner([kind(tmp_path / "logs" / "log"), Remove()])
    with pytest.warns(UserWarning, match=r"Make the folder '.*logs' first\. The fit") as caught:
        run = learn.fit(3)
    assert len(run.history) == 3
    assert len(caught) == 1


def test_an_error_of_another_kind_is_still_one(tmp_path):
    class Wrong(Rows):
        def write_rows(self, run, rows):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        tiny_learner([Wrong(tmp_path / "log")]).fit(1)


def test_steps_that_could_not_be_written_come_with_the_next_row(tmp_path, full_disk, monkeypatch):
    ticks = itertools.count(0, 3)
    monkeypatch.setattr(step_log, "_SECONDS", 2)
    monkeypatch.setattr(step_log, "monotonic", lambda: next(ticks))  # time is up at every batch
    tries = []
    monkeypatch.setattr(
        JSONLLog, "_write_steps", counted(JSONLLog._write_steps, tries), raising=True
    )

    class Fill(Callback):
        def around_fit(self, run):
            self.stack = ExitStack()
            return self.stack

        def begin_batch(self, run):
            if run.n_iter == 1 and run.training:
                self.stack.enter_context(full_disk())

        def after_train(self, run):
            self.stack.close()
            tries.append("room")

    with pytest.warns(UserWarning, match="no space left"):
        tiny_learner([JSONLLog(tmp_path / "log"), Fill()]).fit(1)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log").read_text().splitlines()]
    assert kinds == ["meta", "step", "step", "step", "step", "row"]
    assert tries.index("room") <= 3  # it is not tried again with every batch


def counted(function, tries):
    def call(*args, **kwargs):
        tries.append("write")
        return function(*args, **kwargs)

    return call

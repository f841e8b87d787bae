"""Whole lines, never over somebody else's."""

import pytest

from lehr import Callback
from lehr.events import Phase
from lehr.log_file import LogFile, RowLog
from lehr.testing import tiny_learner


def log(path, append=False):
    return LogFile(path, append=append, owner="Demo")


def test_lines_are_there_as_soon_as_they_are_written(tmp_path):
    file = log(tmp_path / "log")
    file.open()
    file.write("one\n")
    assert (tmp_path / "log").read_text() == file.read() == "one\n"
    file.open()  # by the same object
    file.write("two\n")
    assert file.read() == "one\ntwo\n"


def test_somebody_elses_lines_are_refused_unless_asked(tmp_path):
    path = tmp_path / "log"
    path.write_text("old\n")
    with pytest.raises(FileExistsError, match=r"Demo does not overwrite '.*log'.*append=True"):
        log(path).open()
    assert path.read_text() == "old\n"
    file = log(str(path), append=True)
    file.open()
    file.write("new\n")
    assert path.read_text() == "old\nnew\n"


def test_an_empty_file_may_be_written_to(tmp_path):
    (tmp_path / "log").touch()
    log(tmp_path / "log").open()


def test_a_torn_line_is_ended_first(tmp_path):
    path = tmp_path / "log"
    path.write_text("whole\nto")
    file = log(path, append=True)
    file.open()
    file.write("new\n")
    assert path.read_text() == "whole\nto\nnew\n"


def test_everything_is_replaced_in_one_move(tmp_path, monkeypatch):
    file = log(tmp_path / "log")
    file.open()
    file.write("old\n")
    file.replace("wider\n")
    assert file.read() == "wider\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]

    def fails(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fails)
    with pytest.raises(OSError, match=r"Demo cannot write '.*log': no space left.* Give another"):
        file.replace("lost\n")
    assert file.read() == "wider\n"


def test_another_working_folder_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    file = log("log")
    file.open()
    monkeypatch.chdir(tmp_path)
    file.write("one\n")
    assert (tmp_path / "a" / "log").read_text() == "one\n"


def test_what_is_in_the_way_is_told(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no such file.*Make the folder '.*gone' first"):
        log(tmp_path / "gone" / "log").open()
    with pytest.raises(IsADirectoryError, match=r"is a directory. Give another path"):
        log(tmp_path).open()
    with pytest.raises(TypeError, match=r"path must be the path of a file; got 3. Write"):
        log(3)

    with pytest.raises(NotADirectoryError, match=r"not a directory. Give another path"):
        log(__file__ + "/log").open()

    def is_gone(self, *args):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("pathlib.Path.open", is_gone)
    with pytest.raises(FileNotFoundError, match=r"no such file or directory. Give another path"):
        log(tmp_path / "log").open()  # its folder is there: some systems have such places
    monkeypatch.undo()

    def refuse(self, *args):
        raise PermissionError(13, "Permission denied")

    file = log(tmp_path / "log")
    file.open()
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(PermissionError, match=r"permission denied. Give a path that may be"):
        file.open()
    with pytest.raises(PermissionError, match="Demo cannot write"):
        file.write("x\n")


class Rows(RowLog, Callback):
    """Notes what it is handed."""

    phase = Phase.REPORT

    def begin_fit(self, run):
        super().begin_fit(run)
        self.seen = []

    def write_rows(self, run, rows):
        self.seen.append([(row.get("epoch"), row.get("late")) for row in rows])
        self.file.write("row\n" * len(rows))


class Late(Callback):
    phase = Phase.REPORT

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

"""Whole lines, never over somebody else's."""

import errno
import io
import shutil
from pathlib import Path
from zlib import crc32

import pytest

from lehr.record.log_file import LogFile


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


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device")
def test_a_device_is_not_read_for_ever(tmp_path):
    path = tmp_path / "log"
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="is a device"):
        log(path).open(resuming=True)


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
    with pytest.raises(OSError, match=r"Demo cannot write '.*log': no space left.* Make room"):
        file.replace("lost\n")
    assert file.read() == "wider\n"


def test_what_is_in_its_place_was_replaced_though_the_disk_does_not_take_its_name(
    tmp_path, monkeypatch
):
    path, asked = tmp_path / "log", []

    def refuse(folder):
        asked.append(folder)
        raise OSError(errno.EIO, "Input/output error")

    file = log(path)
    file.open()
    file.write("one\n")
    with monkeypatch.context() as broken:
        broken.setattr("lehr.base.files.sync_folder", refuse)
        broken.setattr("lehr.record.log_file.sync_folder", refuse)
        file.replace("two\n")
        assert (path.read_text(), file.mark()) == ("two\n", {"size": 4, "crc": crc32(b"two\n")})
        with pytest.raises(OSError, match=r"Demo cannot write .* input/output error"):
            file.sync()
    assert asked == [tmp_path, tmp_path]
    monkeypatch.setattr("lehr.record.log_file.sync_folder", asked.append)
    file.sync()
    file.sync()
    assert asked == [tmp_path] * 3


def test_lines_that_the_disk_has_no_room_for_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    class Full(io.FileIO):
        """Takes four bytes, and then no more."""

        def write(self, data):
            super().write(bytes(data)[:4])
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "log"
    file = opened(path, "one\n")
    before = file.mark()
    for torn in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(
                "pathlib.Path.open", lambda self, mode: io.BufferedRandom(Full(self, "a+"))
            )
            if torn:
                patch.setattr("os.truncate", refuse)
            with pytest.raises(OSError, match=r"no space left on device\. Make room on the disk"):
                file.write("two\nthree\n")
        assert path.read_text() == ("one\ntwo\n" if torn else "one\n")
        assert file.mark() == before
    file.write("two\nthree\n")
    assert path.read_text() == "one\ntwo\nthree\n"
    assert file.mark() == {"size": 14, "crc": crc32(b"one\ntwo\nthree\n")}


def refuse(*args):
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_was_gone_for_a_while_has_a_new_file(tmp_path):
    (tmp_path / "a").mkdir()
    file = opened(tmp_path / "a" / "log", "one\n")
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=r"no such file.* Make the folder '.*a' first"):
        file.write("two\n")
    (tmp_path / "a").mkdir()
    file.write("two\n")
    assert (tmp_path / "a" / "log").read_text() == "two\n"


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


# State ------------------------------------------------------------------------------------------


def opened(path, *lines, resuming=False, append=False):
    file = log(path, append)
    file.open(resuming=resuming)
    for line in lines:
        file.write(line)
    return file


@pytest.mark.parametrize("torn", ["", "three\nto", "\0\xff"])
def test_what_was_written_after_the_mark_is_let_go_of(tmp_path, torn):
    path = tmp_path / "log"
    mark = opened(path, "one\n", "two\n").mark()
    with path.open("ab") as file:
        file.write(torn.encode("latin-1"))
    again = opened(path, resuming=True)
    again.cut(mark)
    assert path.read_text() == "one\ntwo\n"
    assert again.mark() == mark
    again.write("three\n")
    again.cut(mark)  # the same object may go back, too
    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "it has 0 of 8 bytes"),
        ("one\ntw", "it has 6 of 8 bytes"),
        ("one\n2wo\nthree\n", "it holds something else"),
    ],
)
def test_a_file_that_does_not_begin_so_is_refused_and_left_alone(tmp_path, text, seen):
    path = tmp_path / "log"
    mark = opened(path, "one\n", "two\n").mark()
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"Demo cannot go on .* in '.*log': {seen}\. Put the"):
        opened(path, resuming=True).cut(mark)
    assert path.read_text() == text


def test_where_nothing_was_written_since_a_file_is_not_looked_at(tmp_path):
    file = opened(tmp_path / "log", "one\n")
    mark = file.mark()
    (tmp_path / "log").unlink()
    file.cut(mark)
    assert file.mark() == mark
    assert file.read_bytes() == b""


def test_an_object_that_has_not_opened_the_file_leaves_it_alone(tmp_path):
    mark = opened(tmp_path / "log", "one\n").mark()
    log(tmp_path / "log").cut({"size": 0, "crc": 0})
    file = log(tmp_path / "other")
    file.cut(mark)
    assert file.mark() == mark
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one\n"]


def test_what_was_written_is_synced_only_once(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    file = opened(tmp_path / "log", "one\n", "two\n")
    assert synced == []
    file.sync()
    file.sync()
    assert len(synced) == 1

    def fails(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", fails)
    file.write("three\n")
    with pytest.raises(OSError, match=r"Demo cannot write '.*log': input/output error"):
        file.sync()


def test_what_cannot_be_cut_is_told(tmp_path, monkeypatch):
    file = opened(tmp_path / "log", "one\n")
    mark = file.mark()
    file.write("two\n")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.truncate", refuse)
    with pytest.raises(PermissionError, match="Demo cannot write"):
        file.cut(mark)


def test_looking_at_a_file_does_not_make_it_ones_own(tmp_path):
    path = tmp_path / "log"
    path.write_text("old\n")
    file = opened(path, resuming=True)
    assert file.is_open
    with pytest.raises(FileExistsError, match="Demo does not overwrite"):
        file.open()
    file.claim()
    file.open()

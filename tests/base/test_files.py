"""Each function does its one thing, calls fsync where it says so, and cleans up after itself."""

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from lehr.base import files
from lehr.callbacks import CSVLog
from lehr.testing import tiny_learner


def write_file(path, data):
    files.write_files(path.parent, {path.name: [data]})


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The names of the files and folders that fsync was called for."""
    seen = []
    real = os.fsync

    def fsync(descriptor):
        number = os.fstat(descriptor).st_ino
        paths = [tmp_path, *tmp_path.rglob("*")]
        seen.append(next(path.name for path in paths if path.lstat().st_ino == number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_synced_and_no_more(tmp_path, calls):
    write_file(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert calls == ["a"]
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"


def test_the_mode_is_that_of_any_new_file(tmp_path):
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_parts_are_joined_and_short_writes_go_on(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    files.write_files(tmp_path, {"a": [b"0123456789", memoryview(b"abcde"), b""]})
    assert (tmp_path / "a").read_bytes() == b"0123456789abcde"


def test_a_descriptor_is_closed_when_writing_fails(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(errno.EIO, "no")

    before = open_files()
    monkeypatch.setattr(os, "fsync", fails)
    for call in (lambda: write_file(tmp_path / "a", b""), lambda: sync(tmp_path)):
        with pytest.raises(OSError, match="no"):
            call()
    assert open_files() == before


def sync(path):
    files.sync_folder(path)


def test_a_folder_is_synced(tmp_path, calls):
    files.sync_folder(tmp_path)
    assert calls == [tmp_path.name]
    with pytest.raises(FileNotFoundError):
        files.sync_folder(tmp_path / "absent")


def test_windows_has_no_sync_of_folders(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    files.sync_folder(tmp_path / "absent")
    assert calls == []


def test_a_file_is_replaced_whole(tmp_path, calls):
    files.replace_file(tmp_path / "a", b"one")
    files.replace_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names(tmp_path) == ["a"]
    first, folder, second, _ = calls
    assert [re.fullmatch(r"\.a\.[0-9a-f]{16}\.part", part) is not None for part in (first, second)]
    assert first != second
    assert calls == [first, folder, second, folder]
    assert folder == tmp_path.name


def test_a_link_laid_out_under_the_temporary_name_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "precious").write_bytes(b"mine")
    monkeypatch.setattr(os, "urandom", lambda n: b"guessed!")
    (tmp_path / f".a.{b'guessed!'.hex()}.part").symlink_to("precious")
    with pytest.raises(FileExistsError):
        files.replace_file(tmp_path / "a", b"theirs")
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert not (tmp_path / "a").exists()


def test_a_failing_replacement_leaves_the_old_file_alone(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(errno.ENOSPC, "full")

    files.replace_file(tmp_path / "a", b"one")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=r"full: '.*/a'$"):
        files.replace_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


def test_an_error_names_the_file_and_not_its_part(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone/a'$"):
        files.replace_file(tmp_path / "gone" / "a", b"")


def test_a_file_is_saved_where_the_users_path_leads(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    files.save_file(link, b"new")
    assert (real.read_bytes(), link.is_symlink()) == (b"new", True)
    files.replace_file(link, b"own")  # the control: this one follows nothing
    assert (real.read_bytes(), link.is_symlink()) == (b"new", False)
    with pytest.raises(FileNotFoundError, match=r"gone/a cannot be written: .*Make it first"):
        files.save_file(tmp_path / "gone" / "a", b"")


def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.save_file(pipe, b"new")
    assert os.read(descriptor, 9) == b"new"
    os.close(descriptor)
    assert names(tmp_path) == ["pipe"]


def test_old_parts_are_swept_and_nothing_else(tmp_path):
    old, young, mine = f".a.{'0' * 16}.part", f".a.{'1' * 16}.part", ".a.txt.part"
    for name in (old, young, mine, "a"):
        (tmp_path / name).touch()
    (tmp_path / f".b.{'0' * 16}.part").mkdir()
    for name in (old, mine, "a", f".b.{'0' * 16}.part"):
        os.utime(tmp_path / name, (0, 0))
    files.sweep(tmp_path)
    assert names(tmp_path) == sorted([young, mine, "a", f".b.{'0' * 16}.part"])
    files.sweep(tmp_path / "gone")


def test_folders_are_made_with_those_above_and_their_names_synced(tmp_path, calls):
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert calls == [tmp_path.name, "a"]
    files.make_folder(tmp_path / "a" / "b")
    assert len(calls) == 2
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        files.make_folder(tmp_path / "file")


def test_somebody_else_may_make_the_folder_at_the_same_time(tmp_path, monkeypatch):
    real = files.new_folder

    def after_another(path):
        real(path)
        real(path)

    monkeypatch.setattr(files, "new_folder", after_another)
    files.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_a_new_folder_is_new(tmp_path):
    files.new_folder(tmp_path / "a")
    with pytest.raises(FileExistsError):
        files.new_folder(tmp_path / "a")


def test_rename(tmp_path):
    write_file(tmp_path / "a", b"one")
    files.rename(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["b"]
    with pytest.raises(FileNotFoundError):
        files.rename(tmp_path / "a", tmp_path / "b")


def test_what_is_removed_is_gone_and_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    files.make_folder(outside / "kept")
    files.make_folder(tmp_path / "a" / "b")
    write_file(tmp_path / "a" / "b" / "c", b"")
    (tmp_path / "a" / "link").symlink_to(outside)
    (tmp_path / "a" / "broken").symlink_to("nowhere")
    files.remove(tmp_path / "a")
    assert names(tmp_path) == ["outside"]
    assert names(outside) == ["kept"]
    with pytest.raises(FileNotFoundError):
        files.remove(tmp_path / "a")


def test_a_lock_keeps_others_out_until_it_is_closed(tmp_path):
    with files.lock_file(tmp_path / "lock"):
        before = open_files()
        with pytest.raises(BlockingIOError):
            files.lock_file(tmp_path / "lock")
        assert open_files() == before
    files.lock_file(tmp_path / "lock").close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch, number):
    def fails(descriptor, operation):
        raise OSError(number, "no locks")

    monkeypatch.setattr(files.fcntl, "flock", fails)
    locks = [files.lock_file(tmp_path / "lock") for _ in range(2)]
    for lock in locks:
        lock.close()


def test_a_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    for lock in [files.lock_file(tmp_path / "lock") for _ in range(2)]:
        lock.close()


def test_links_that_lead_in_a_circle_are_an_error_of_the_disk(tmp_path):
    link = tmp_path / "log.csv"
    link.symlink_to(link)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.save_file(link, b"one")
    with pytest.raises(OSError, match=r"CSVLog cannot write .*: too many levels"):
        tiny_learner([CSVLog(link)]).fit(1)
    assert link.is_symlink()


def test_what_is_discarded_is_gone_and_need_not_have_been_there(tmp_path):
    (tmp_path / "real").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("real")
    for name in ("link", "link", "none"):
        files.discard(tmp_path / name)
    assert names(tmp_path) == ["real"]
    tmp_path.joinpath("folder").mkdir()
    with pytest.raises(OSError):
        files.discard(tmp_path / "folder")

"""Files that nobody vouches for."""

import os
import socket

import pytest

from lehr.base import reading
from lehr.base.reading import check_unpacked, open_plain, read_plain


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Names of what is no plain file, with what it is."""
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        yield {
            "pipe": "a named pipe",
            "link": "a named pipe",
            "null": "a device",
            "folder": "a folder",
            "socket": "a socket",
        }


@pytest.mark.timeout(10)
def test_what_is_no_plain_file_is_refused_at_once(odd, tmp_path):
    for name, kind in odd.items():
        for read in (open_plain, read_plain):
            with pytest.raises(ValueError, match=f"{name} must be a plain file; it is {kind}"):
                read(tmp_path / name)


@pytest.mark.timeout(10)
def test_a_file_that_becomes_a_pipe_between_two_looks_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    plain = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(type(path), "stat", lambda self: plain)
    with pytest.raises(ValueError, match="it is a named pipe"):
        open_plain(path)


def test_a_plain_file_is_read_also_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").symlink_to("a")
    assert read_plain(tmp_path / "b") == b"one"
    assert read_plain(tmp_path / "b", most=3) == b"one"
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "c")


def test_a_file_beyond_its_limit_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"four")
    with pytest.raises(ValueError, match=r"a has 4 bytes; it may have 3\."):
        read_plain(path, most=3)
    with pytest.raises(ValueError, match="has more than the 10 bytes"):
        path = type(path)("/proc/self/maps")  # says that it has none
        read_plain(path, most=10)


def test_what_is_packed_to_fill_the_memory_is_refused():
    check_unpacked("a", 1, reading.UNPACKED_FREELY)
    check_unpacked("a", 10**7, 10**9)
    for packed, unpacked in ((1, reading.UNPACKED_FREELY + 1), (10**7, 10**9 + 1)):
        with pytest.raises(ValueError, match=r"a would unpack from .* more than 100 times"):
            check_unpacked("a", packed, unpacked)

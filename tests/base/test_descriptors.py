"""What is opened is closed, also if a Ctrl-C comes in between."""

import os
import signal
from pathlib import Path

import pytest

from lehr.base.descriptors import open_file, opened

OPEN = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not OPEN.is_dir(), reason="there is no list of open files")


def count():
    return len(list(OPEN.iterdir()))


@pytest.fixture
def ctrl_c_when_opened(monkeypatch):
    """Ctrl-C is pressed when the operating system has opened a file."""
    real, before = os.open, signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*args):
        descriptor = real(*args)
        signal.raise_signal(signal.SIGINT)
        return descriptor

    monkeypatch.setattr(os, "open", interrupted)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_file_is_closed_when_nobody_has_it(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    before = count()
    with open_file(tmp_path / "a", os.O_RDONLY) as file:
        assert file.read() == b"one"
        assert count() == before + 1
    assert count() == before


def test_a_file_that_is_made_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        open_file(tmp_path / "a", os.O_WRONLY | os.O_CREAT | os.O_EXCL).close()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_is_open_for_the_length_of_the_scope(tmp_path):
    before = count()
    with opened(tmp_path, os.O_RDONLY) as descriptor:
        assert os.fstat(descriptor)
        assert count() == before + 1
    assert count() == before


@pytest.mark.usefixtures("ctrl_c_when_opened")
def test_a_ctrl_c_in_the_moment_of_opening_leaves_nothing_open(tmp_path):
    before = count()
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, os.O_RDONLY):
        pytest.fail("the interrupt comes before this")
    assert count() == before


def test_what_is_not_there_cannot_be_opened(tmp_path):
    for scope in (opened, open_file):
        with pytest.raises(FileNotFoundError), scope(tmp_path / "a", os.O_RDONLY):
            pass

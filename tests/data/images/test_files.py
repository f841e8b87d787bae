import os
import pickle
import zipfile

import pytest
import torch

from lehr.data.images.decode import BrokenImage, decode
from lehr.data.images.files import FolderFiles, ZipFiles


@pytest.fixture
def both(tmp_path):
    names = ["a/1.png", "b/2.png", "b/3.png"]
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            file = tmp_path / "root" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode() * 100)
            archive.write(file, name)
    return FolderFiles(tmp_path / "root", names), ZipFiles(tmp_path / "all.zip", names)


def test_the_same_from_both(both):
    for files in both:
        assert len(files) == 3
        assert files.read(1) == b"b/2.png" * 100
        taken = files.take(torch.tensor([2, 0]))
        assert taken.names == ("b/3.png", "a/1.png")
        assert taken.read(0) == b"b/3.png" * 100
        assert "b" in files.name(1)
        assert "2.png" in files.name(1)


def test_a_zip_is_opened_anew_after_pickling(both):
    zipped = both[1]
    zipped.read(0)
    assert zipped._opened is not None
    again = pickle.loads(pickle.dumps(zipped))
    assert again._opened is None
    assert again.read(0) == zipped.read(0)


def test_a_zip_is_opened_anew_in_another_process(both, monkeypatch):
    zipped = both[1]
    zipped.read(0)
    handle = zipped._opened[1]
    zipped.read(1)
    assert zipped._opened[1] is handle
    monkeypatch.setattr(os, "getpid", lambda: -1)
    zipped.read(1)
    assert zipped._opened[1] is not handle


def test_a_damaged_member(both):
    path = both[1].path
    raw = bytearray(path.read_bytes())
    raw[45] ^= 0xFF  # within the packed content of the first
    path.write_bytes(raw)
    with pytest.raises(
        BrokenImage, match=r"all\.zip: a/1\.png cannot be unpacked: .*Pack the zip again"
    ):
        both[1].read(0)
    assert both[1].read(1) == b"b/2.png" * 100


def test_an_enormous_member(both, monkeypatch):
    monkeypatch.setattr("lehr.data.images.files.LARGEST_FILE", 699)
    with pytest.raises(BrokenImage, match="would unpack to 700 bytes, more than the 699"):
        both[1].read(0)


def test_an_unreadable_file(both):
    (both[0].root / "a/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        both[0].read(0)


@pytest.mark.timeout(10)
def test_what_is_no_plain_file_is_a_broken_image(both):
    for make in (os.mkfifo, lambda path: path.symlink_to(os.devnull)):
        path = both[0].root / "a/1.png"
        path.unlink()
        make(path)
        for read in (lambda: both[0].read(0), lambda path=path: decode(path)):
            with pytest.raises(BrokenImage, match=r"1\.png must be a plain file; it is a"):
                read()
    assert both[0].read(1) == b"b/2.png" * 100


def test_an_enormous_file(both, monkeypatch):
    monkeypatch.setattr("lehr.data.images.decode.LARGEST_FILE", 699)
    with pytest.raises(BrokenImage, match=r"1\.png has 700 bytes; it may have 699"):
        both[0].read(0)

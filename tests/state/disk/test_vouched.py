"""A file is what the manifest vouches for, or is refused before it is understood."""

import json
import os
import shutil

import pytest

from lehr.state.disk import checkpoint, vouched

from .forged import refused, sealed


def test_a_checksum_that_is_another(folder):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    sealed(folder, files={**files, "state.json": {**files["state.json"], "crc32": "0" * 8}})
    refused(folder, r"state\.json has the checksum [0-9a-f]{8}, and not 00000000")


def test_sizes_are_compared_before_anything_is_read(folder, monkeypatch):
    (folder / "model.safetensors").write_bytes(b"{}")
    filled = []
    real = vouched._filled
    monkeypatch.setattr(vouched, "_filled", lambda *a: filled.append(a[1]) or real(*a))
    refused(folder, r"model\.safetensors holds 2 bytes, and not \d+")
    assert filled == ["manifest.json"]


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors"])
def test_files_that_are_none(folder, tmp_path, name):
    path = folder / name
    shutil.move(path, tmp_path / "moved")
    refused(folder, f"{name} is missing")
    path.symlink_to(tmp_path / "moved")
    refused(folder, f"{name} is a link")
    path.unlink()
    path.mkdir()
    refused(folder, f"{name} is no plain file")
    path.rmdir()
    os.mkfifo(path)
    refused(folder, f"{name} is no plain file")
    path.unlink()
    shutil.move(tmp_path / "moved", path)
    checkpoint.read(folder)


def test_text_files_have_a_largest_size(folder, monkeypatch):
    monkeypatch.setitem(vouched.LARGEST, "manifest.json", 10)
    refused(folder, r"manifest\.json holds \d+ bytes, more than 10")
    monkeypatch.undo()
    monkeypatch.setitem(vouched.LARGEST, "state.json", 10)
    refused(folder, r"state\.json holds \d+ bytes, more than 10")


def test_a_file_that_shrinks_while_it_is_read(folder, monkeypatch):
    real = os.fstat

    def larger(descriptor):
        found = list(real(descriptor))
        found[6] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", larger)
    refused(folder, r"manifest\.json ends 1 bytes early")


def test_there_is_none(tmp_path):
    refused(tmp_path / "absent", r"manifest\.json is missing")
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "file", r"manifest\.json is missing")
    refused(tmp_path, r"manifest\.json is missing")


def test_what_the_disk_says_is_no_damage(folder, monkeypatch):
    def fails(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(PermissionError):
        checkpoint.read(folder)

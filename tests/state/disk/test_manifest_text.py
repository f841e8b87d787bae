"""A manifest says what it was given, and nothing else is believed."""

import json

import pytest
import torch

from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint
from lehr.state.disk.checkpoint import DamagedCheckpoint

from .forged import INFO, refused, sealed, snapshot


def test_the_manifest_says_what_it_was_given(tmp_path):
    info = {**INFO, "value": float("nan"), "versions": {"torch": "2.x"}, "why": None, "at": (1, 2)}
    written = checkpoint.write(tmp_path / "b", {}, info)
    manifest = checkpoint.read_manifest(tmp_path / "b")
    assert first_difference(written, manifest) is None
    assert first_difference({**manifest, **info}, manifest) is None
    assert manifest["version"] == checkpoint.VERSION == 1
    assert set(manifest["files"]) == {"model.safetensors", "state.safetensors", "state.json"}
    for name, entry in manifest["files"].items():
        assert entry["size"] == (tmp_path / "b" / name).stat().st_size


def test_the_manifest_can_be_read_by_anybody(folder):
    text = json.loads((folder / "manifest.json").read_text())
    assert text["format"] == "lehr checkpoint"
    assert {key: text[key] for key in INFO} == INFO
    assert list(text)[-1] == "checksum"


@pytest.mark.parametrize(
    ("info", "error", "message"),
    [
        (
            {**INFO, "run": None},
            ValueError,
            "run must be text; got None. Give run, serial, step and",
        ),
        ({**INFO, "serial": 0}, ValueError, "serial must be a whole number from 1 to .*; got 0"),
        ({**INFO, "step": -1}, ValueError, "step must be a whole number from 0 to .*; got -1"),
        ({**INFO, "epoch": 1.5}, ValueError, r"epoch must be a whole number .*; got 1\.5"),
        ({**INFO, "step": True}, ValueError, "step must be a whole number .*; got True"),
        ({**INFO, "serial": 2**60}, ValueError, "serial must be a whole number from 1 to "),
        (
            {"run": "r"},
            ValueError,
            "info must have the fields run, .*; missing: serial, step, epoch",
        ),
        ({**INFO, "version": 2}, ValueError, "info cannot say 'version': the manifest does"),
        ({**INFO, "x": torch.ones(1)}, ValueError, r"info has tensors: \['x'\]"),
        ({**INFO, "x": object()}, TypeError, "x is of type object"),
        ({**INFO, "x": "y" * 5_000_000}, ValueError, r"manifest\.json would take 5000\d* bytes"),
    ],
)
def test_info_that_cannot_be_written(tmp_path, info, error, message):
    with pytest.raises(error, match=message):
        checkpoint.write(tmp_path / "b", snapshot(), info)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "its format is version 3; this lehr reads versions 1 and 2, so install"),
        ({"version": "x" * 500}, "its format is version 'xxx"),
        ({"format": "another"}, r"manifest\.json is not that of a checkpoint"),
        ({"run": 1}, r"manifest\.json says something impossible: run must be text; got 1"),
        ({"step": "12"}, "something impossible: step must be a whole number .*; got '12'"),
        ({"value": {"float": "x"}}, "the structure has the float 'x'"),
        ({"value": {"tensor": "x"}}, "no such tensor is left"),
        ({"files": {}}, r"vouches for other files than model\.safetensors, state"),
        ({"files": []}, "vouches for other files"),
        ({"files": {"../a": {}, "state.json": {}, "model.safetensors": {}}}, "vouches for other"),
    ],
)
def test_manifests_that_say_something_else(folder, changes, message):
    sealed(folder, **changes)
    refused(folder, message)
    with pytest.raises(DamagedCheckpoint, match=message):
        checkpoint.read_manifest(folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, r"impossible: state\.json must be a dict; got None"),
        ({"size": 10**15, "crc32": "00000000"}, "bytes, and not 1000000000000000"),
        (
            {"size": "1", "crc32": "00000000"},
            r"state\.json\.size must be a whole number from 0 to .*; got '1'",
        ),
        ({"crc32": "00000000"}, r"state\.json must have the fields size, crc32; missing: size"),
        (
            {"size": 1, "crc32": "0"},
            r"state\.json\.crc32 must be eight hexadecimal digits .*; got '0'",
        ),
    ],
)
def test_entries_that_say_something_else(folder, entry, message):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    sealed(folder, files={**files, "state.json": entry})
    refused(folder, message)


def test_a_manifest_that_was_read_is_the_readers_own(folder):
    first = checkpoint.read_manifest(folder)
    first["step"], first["files"]["state.json"]["size"] = 99, 0
    assert checkpoint.read_manifest(folder)["step"] == INFO["step"]
    assert checkpoint.read(folder).manifest["files"]["state.json"]["size"] > 0
    path = folder / checkpoint.MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"step": 12', b'"step": 13'))
    with pytest.raises(DamagedCheckpoint, match="does not have the checksum"):
        checkpoint.read_manifest(folder)

"""What is written is read back exactly, by other tools as well; what is damaged is refused."""

import json
import os
import shutil

import pytest
import safetensors.torch
import torch

from lehr.base import strict_json
from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint
from lehr.state.disk.checkpoint import DamagedCheckpoint
from lehr.state.snapshot import capture

INFO = {"run": "r", "serial": 7, "step": 12, "epoch": 1}


def snapshot() -> dict:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    opt = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    opt.step()
    more = {"#cache": torch.ones(2), "_extra_state": {"x": torch.zeros(2), "n": 1}}
    found = capture({"model": model, "opt": opt})
    return {**found, "model": {**found["model"], **more}, "run": {"step": 12, "best": None}}


@pytest.fixture
def folder(tmp_path):
    checkpoint.write(tmp_path / "a", snapshot(), INFO)
    return tmp_path / "a"


def test_round_trip(folder):
    read = checkpoint.read(folder)
    assert first_difference(read.snapshot, snapshot()) is None
    assert read.path == folder
    assert list(read.snapshot["model"]) == list(snapshot()["model"])
    other = snapshot()
    other["opt"]["state"][0]["exp_avg"][0, 0] += 1e-7
    assert first_difference(read.snapshot, other) is not None


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


def test_other_tools_load_the_model(folder):
    found = safetensors.torch.load_file(folder / "model.safetensors")
    assert sorted(found) == ["bias", "weight"]
    twin = torch.nn.Linear(2, 3)
    twin.load_state_dict(found)
    assert torch.equal(twin.weight, snapshot()["model"]["weight"])
    rest = safetensors.torch.load_file(folder / "state.safetensors")
    assert {"model.#cache", "model._extra_state.x", "opt.state.0.exp_avg"} <= rest.keys()


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"model": {}},
        {"model": None},
        {"model": torch.ones(1)},
        {"model": {"": torch.ones(1), 0: torch.ones(2), "__metadata__": torch.ones(3)}},
        {"model": {"a": {"b": torch.ones(1)}, "a.b": torch.ones(2)}},
        {"model.a": torch.ones(1), "model": {"a": torch.ones(2)}},
    ],
    ids=str,
)
def test_odd_models(tmp_path, entries):
    checkpoint.write(tmp_path / "b", entries, INFO)
    assert first_difference(checkpoint.read(tmp_path / "b").snapshot, entries) is None


def test_a_folder_that_exists_is_not_written_into(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError):
        checkpoint.write(folder, {}, INFO)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_a_state_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"opt\.x is of type object"):
        checkpoint.write(tmp_path / "b", {"opt": {"x": object()}}, INFO)
    monkeypatch.setitem(checkpoint._LARGEST, "state.json", 1000)
    with pytest.raises(ValueError, match=r"state\.json would take \d+ bytes; it may take 1000"):
        checkpoint.write(tmp_path / "b", {"history": {"loss": [0.5] * 1000}}, INFO)
    assert list(tmp_path.iterdir()) == []


def sealed(folder, **changes) -> None:
    """Change what the manifest says, with the right checksum."""
    body = json.loads((folder / "manifest.json").read_text())
    body.pop("checksum")
    text = strict_json.dump({**body, **changes}, indent=1)
    (folder / "manifest.json").write_bytes(checkpoint._sealed(text))


def resealed(folder, name, data: bytes) -> None:
    """Forge a file, with all checksums right."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    (folder / name).write_bytes(data)
    sealed(folder, files={**files, name: {"size": len(data), "crc32": checkpoint._sum(data)}})


def refused(folder, message) -> None:
    with pytest.raises(DamagedCheckpoint, match=message) as caught:
        checkpoint.read(folder)
    assert str(caught.value).startswith(f"{folder} cannot be used: ")
    assert str(caught.value).endswith(". Use another checkpoint.")


def test_the_forger_of_these_tests_does_it_right(folder):
    resealed(folder, "state.json", (folder / "state.json").read_bytes())
    assert first_difference(checkpoint.read(folder).snapshot, snapshot()) is None


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


def test_a_checksum_that_is_another(folder):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    sealed(folder, files={**files, "state.json": {**files["state.json"], "crc32": "0" * 8}})
    refused(folder, r"state\.json has the checksum [0-9a-f]{8}, and not 00000000")


def test_sizes_are_compared_before_anything_is_read(folder, monkeypatch):
    (folder / "model.safetensors").write_bytes(b"{}")
    filled = []
    real = checkpoint._filled
    monkeypatch.setattr(checkpoint, "_filled", lambda *a: filled.append(a[1]) or real(*a))
    refused(folder, r"model\.safetensors holds 2 bytes, and not \d+")
    assert filled == ["manifest.json"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("state.json", b"[]", "[0-9]+ tensors belong nowhere"),
        ("state.json", b'{"a":1,"a":1}', r"state\.json cannot be read: its JSON text names 'a' tw"),
        ("state.json", b"[" * 10_000, r"state\.json cannot be read: its JSON text is nested"),
        ("state.safetensors", b"", r"state\.safetensors cannot be read: it is shorter than"),
        ("model.safetensors", b"\x00" * 8, r"model\.safetensors cannot be read: it is no JSON"),
    ],
)
def test_forged_files(folder, name, data, message):
    resealed(folder, name, data)
    refused(folder, message)


def test_forged_snapshots(folder):
    empty = b"\x02" + bytes(7) + b"{}"
    for name in ("model.safetensors", "state.safetensors"):
        resealed(folder, name, empty)
    for text in (b"[]", b"1", b'{"items":[[1,2]]}'):
        resealed(folder, "state.json", text)
        refused(folder, r"state\.json holds no entries by name")
    data = safetensors.torch.save({"x": torch.ones(1)})
    resealed(folder, "model.safetensors", data)
    resealed(folder, "state.safetensors", safetensors.torch.save({"model.x": torch.ones(1)}))
    refused(folder, r"model\.safetensors and state\.safetensors both hold 'model\.x'")


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


def test_foreign_files(folder):
    (folder / "data.pkl").write_bytes(b"")
    refused(folder, r"'data\.pkl' does not belong there")


def test_text_files_have_a_largest_size(folder, monkeypatch):
    monkeypatch.setitem(checkpoint._LARGEST, "manifest.json", 10)
    refused(folder, r"manifest\.json holds \d+ bytes, more than 10")
    monkeypatch.undo()
    monkeypatch.setitem(checkpoint._LARGEST, "state.json", 10)
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


@pytest.mark.parametrize(
    "nest", [lambda x: [x], lambda x: (x,), lambda x: {"a": x}, lambda x: {1: x}]
)
def test_a_state_may_be_nested_as_deep_as_is_written(tmp_path, nest):
    value = 0
    for _ in range(98):
        value = nest(value)
    checkpoint.write(tmp_path / "a", {"deep": value}, INFO)
    assert checkpoint.read(tmp_path / "a").snapshot == {"deep": value}


def test_a_manifest_that_was_read_is_the_readers_own(folder):
    first = checkpoint.read_manifest(folder)
    first["step"], first["files"]["state.json"]["size"] = 99, 0
    assert checkpoint.read_manifest(folder)["step"] == INFO["step"]
    assert checkpoint.read(folder).manifest["files"]["state.json"]["size"] > 0
    path = folder / checkpoint.MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"step": 12', b'"step": 13'))
    with pytest.raises(DamagedCheckpoint, match="does not have the checksum"):
        checkpoint.read_manifest(folder)

"""What is written is read back exactly, by other tools as well; what is damaged is refused."""

import pytest
import safetensors.torch
import torch

from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint, vouched

from .forged import INFO, refused, resealed, snapshot


def test_round_trip(folder):
    read = checkpoint.read(folder)
    assert first_difference(read.snapshot, snapshot()) is None
    assert read.path == folder
    assert list(read.snapshot["model"]) == list(snapshot()["model"])
    other = snapshot()
    other["opt"]["state"][0]["exp_avg"][0, 0] += 1e-7
    assert first_difference(read.snapshot, other) is not None


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


def test_a_state_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"opt\.x is of type object"):
        checkpoint.write(tmp_path / "b", {"opt": {"x": object()}}, INFO)
    monkeypatch.setitem(vouched.LARGEST, "state.json", 1000)
    with pytest.raises(ValueError, match=r"state\.json would take \d+ bytes; it may take 1000"):
        checkpoint.write(tmp_path / "b", {"history": {"loss": [0.5] * 1000}}, INFO)
    assert list(tmp_path.iterdir()) == []


def test_the_forger_of_these_tests_does_it_right(folder):
    resealed(folder, "state.json", (folder / "state.json").read_bytes())
    assert first_difference(checkpoint.read(folder).snapshot, snapshot()) is None


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


def test_foreign_files(folder):
    (folder / "data.pkl").write_bytes(b"")
    refused(folder, r"'data\.pkl' does not belong there")


@pytest.mark.parametrize(
    "nest", [lambda x: [x], lambda x: (x,), lambda x: {"a": x}, lambda x: {1: x}]
)
def test_a_state_may_be_nested_as_deep_as_is_written(tmp_path, nest):
    value = 0
    for _ in range(98):
        value = nest(value)
    checkpoint.write(tmp_path / "a", {"deep": value}, INFO)
    assert checkpoint.read(tmp_path / "a").snapshot == {"deep": value}

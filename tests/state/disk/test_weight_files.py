"""Files of weights: whoever wrote them, they are read; whatever would run code is not."""

import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint
from lehr.state.disk.weight_files import read_weights
from lehr.state.snapshot import capture

WEIGHTS = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.tensor([1.0, -0.0])}


def write_torch(path, content=WEIGHTS):
    torch.save(content, path)


def write_legacy(path):
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


def write_safetensors(path):
    save_file(WEIGHTS, path)


def info():
    return {"run": "a", "serial": 1, "step": 3, "epoch": 0}


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.bin", "a"])
@pytest.mark.parametrize("write", [write_torch, write_legacy, write_safetensors])
def test_the_content_decides_what_a_file_is(write, name, tmp_path):
    write(tmp_path / name)
    assert first_difference(WEIGHTS, read_weights(tmp_path / name)) is None
    other = {**WEIGHTS, "0.bias": torch.tensor([1.0, 0.0])}
    assert first_difference(other, read_weights(tmp_path / name))


@pytest.mark.parametrize("under", ["state_dict", "model", "model_state_dict"])
def test_a_state_dict_may_lie_one_level_deep(under, tmp_path):
    content = {"epoch": 3, under: WEIGHTS, "loss": torch.tensor(3.0), "opt": {"state": {0: 1}}}
    write_torch(tmp_path / "a", content)
    assert first_difference(WEIGHTS, read_weights(tmp_path / "a")) is None


def test_the_state_dict_of_a_model_is_read_with_what_is_no_tensor(tmp_path):
    class Counting(nn.Linear):
        def get_extra_state(self):
            return {"n": 3}

        def set_extra_state(self, state):
            pass

    model = nn.Sequential(Counting(3, 2))
    write_torch(tmp_path / "a", model.state_dict())
    assert read_weights(tmp_path / "a")["0._extra_state"] == {"n": 3}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"model": WEIGHTS, "state_dict": WEIGHTS}, "more than one model: under 'state_dict' and"),
        ({"a": 1, "b": [WEIGHTS]}, "no weights by name, but the keys ['a', 'b']. Give a file"),
        ({}, "no weights by name, but a dict."),
        ([torch.zeros(1)], "no weights by name, but a list."),
        (torch.zeros(1), "no weights by name, but a Tensor."),
        ({0: torch.zeros(1)}, "no weights by name, but the keys [0]."),
        ({"model": {"epoch": 3}}, "no weights by name, but the keys ['epoch']."),
    ],
)
def test_a_file_without_weights_is_told_from_one_with_them(content, told, tmp_path):
    write_torch(tmp_path / "a", content)
    with pytest.raises(ValueError, match=re.escape(told)):
        read_weights(tmp_path / "a")


# Code -------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return Path.touch, (Path(self.canary),)


def zipped(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("dump", [pickle.dumps, zipped, lambda v: pickle.dumps(v, protocol=2)])
def test_no_file_runs_code(dump, nested, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "a.safetensors"
    evil = Evil(canary)
    path.write_bytes(dump({"model": {**WEIGHTS, "x": evil}} if nested else evil))
    with pytest.raises(ValueError, match=r"a is refused|cannot be read") as caught:
        read_weights(path.rename(tmp_path / "a"))
    assert not canary.exists()
    if dump is zipped:
        assert "asks for pathlib.Path.touch" in str(caught.value) or "getattr" in str(caught.value)
    torch.load(tmp_path / "a", weights_only=False) if dump is zipped else pickle.loads(
        (tmp_path / "a").read_bytes()
    )
    assert canary.exists()  # it would have


def test_a_pickled_model_is_refused_with_what_to_do(tmp_path):
    write_torch(tmp_path / "a", nn.Linear(1, 1))
    match = r"asks for torch\.nn\.modules\.linear\.Linear, and .* save the model's state_dict\(\)"
    with pytest.raises(ValueError, match=match):
        read_weights(tmp_path / "a")


def test_the_first_thing_that_is_asked_for_is_named(tmp_path):
    write_torch(tmp_path / "a", {"x": os.system, "y": print})
    with pytest.raises(ValueError, match=r"it is a pickle that asks for \w+\.system, and"):
        read_weights(tmp_path / "a")


def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w") as file:
        for name in ("constants.pkl", "data.pkl", "version"):
            file.writestr(f"a/{name}", b"3\n")
    with pytest.raises(ValueError, match=r"it is a TorchScript program.*torch\.jit\.load"):
        read_weights(tmp_path / "a")


# Damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_torch, write_legacy, write_safetensors])
def test_no_beginning_of_a_file_is_read_and_each_is_told_to_be_damaged(write, tmp_path):
    path = tmp_path / "a"
    write(path)
    whole = path.read_bytes()
    for size in [0, 1, 8, 9, 40, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a is damaged: |a cannot be read: .* damaged, or"):
            read_weights(path)
    path.write_bytes(whole)
    read_weights(path)


@pytest.mark.parametrize(
    "data", [b"\x80\x02garbage", b"PK\x03\x04", b"text, and not short of it", b"\0" * 99]
)
def test_what_is_no_file_of_weights_is_told_so(data, tmp_path):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match=r"no safetensors file and no whole file of torch\.save"):
        read_weights(tmp_path / "a")


def test_an_empty_file_an_absent_one_and_none_at_all(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match=r"a is damaged: it is empty\. Restore it"):
        read_weights(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=r"b is not there\. Give a file of weights"):
        read_weights(tmp_path / "b")
    with pytest.raises(ValueError, match=r"/dev/null is no plain file"):
        read_weights(Path("/dev/null"))


class Huge:
    """A pickle of a few bytes that would take a gigabyte."""

    def __reduce__(self):
        return bytearray, (1 << 30,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_asks_for_memory_is_refused(tmp_path, zipped):
    content = {**WEIGHTS, "huge": Huge()}
    torch.save(content, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"a is refused: it is a pickle that asks for a bytearray"):
        read_weights(tmp_path / "a")


def test_weights_compressed_in_a_zip_are_refused(tmp_path):
    write_torch(tmp_path / "a", {"weight": torch.zeros(100_000)})
    read_weights(tmp_path / "a")
    with (
        zipfile.ZipFile(tmp_path / "a") as whole,
        zipfile.ZipFile(tmp_path / "b", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match=r"b is refused: it is a zip with .* compressed in it"):
        read_weights(tmp_path / "b")


def test_a_file_that_shrinks_while_it_is_read_is_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_safetensors(path)
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-3])
    monkeypatch.setattr(os, "fstat", lambda descriptor: stat)
    with pytest.raises(ValueError, match="it ends 3 bytes early"):
        read_weights(path)


def test_what_the_disk_refuses_keeps_its_type(tmp_path, monkeypatch):
    write_torch(tmp_path / "a")

    def refused(*arguments, **options):
        raise PermissionError(13, "no")

    monkeypatch.setattr(torch, "load", refused)
    with pytest.raises(PermissionError, match="no"):
        read_weights(tmp_path / "a")


# Folders ----------------------------------------------------------------------------------------


def test_of_a_checkpoint_the_model_is_read(tmp_path):
    snapshot = {"model": {**WEIGHTS, "#hidden": torch.ones(1)}, "opt": {"x": torch.zeros(3)}}
    checkpoint.write(tmp_path / "step-1", capture_of(snapshot), info())
    assert first_difference(WEIGHTS, read_weights(tmp_path / "step-1")) is None


def capture_of(snapshot):
    class Entry:
        def __init__(self, value):
            self.value = value

        def state_dict(self):
            return self.value

    return capture({name: Entry(value) for name, value in snapshot.items()})


def test_a_checkpoint_with_one_bit_changed_is_refused(tmp_path):
    folder = tmp_path / "step-1"
    checkpoint.write(folder, {"model": WEIGHTS}, info())
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"it is not what manifest\.json vouches for"):
        read_weights(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(checkpoint.DamagedCheckpoint, match="step-1 cannot be used"):
        read_weights(folder)


def test_another_folder_with_weights_is_read_and_others_are_told_from_it(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint\. Give a file of weights, or a checkp"):
        read_weights(tmp_path)
    (tmp_path / "run").mkdir()
    write_safetensors(tmp_path / "run" / "model.safetensors")
    assert first_difference(WEIGHTS, read_weights(tmp_path / "run")) is None
    with pytest.raises(ValueError, match=r"Give one of the folders in it, e\.g\. .*run\.$"):
        read_weights(tmp_path)

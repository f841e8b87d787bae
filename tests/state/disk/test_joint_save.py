"""Checkpoints that several processes write together."""

import contextlib
import errno
import io
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

from lehr.errors import RemoteRankError
from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint, joint_save
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.disk.joint_save import save_together
from lehr.state.entries import ModelState
from lehr.state.pieces import Pieces
from lehr.state.snapshot import capture, restore

from .ranks import Ranks, cut

WHOLE = {
    "weight": torch.arange(35.0).reshape(7, 5),
    "bias": torch.arange(2.0),  # of more than two processes, some have nothing of it
    "low": torch.arange(12.0).reshape(2, 6).bfloat16(),
    "count": torch.tensor(3),
}
AVERAGE = torch.arange(35.0).reshape(7, 5) / 7


def snapshot(engine):
    model = {name: cut(WHOLE[name], engine) for name in ("weight", "bias")}
    model |= {"low": cut(WHOLE["low"], engine, dim=1), "count": WHOLE["count"]}
    opt = {"state": {0: {"exp_avg": cut(AVERAGE, engine), "step": torch.tensor(2.0)}}}
    opt["complex"] = torch.tensor([1j], dtype=torch.complex128)
    return {"model": model, "opt": opt, "run": {"step": 4, "text": ["a", None]}}


def save(path, world, step=4, make=snapshot, *, ranks=None, opens=True):
    """How each of so many processes ends that save together."""

    def act(engine):
        with contextlib.closing(CheckpointFolder(path)) as folder:
            if engine.rank == 0 and opens:
                folder.open("a")
            return save_together(folder, make(engine), {"step": step, "epoch": 0}, engine)

    return (ranks or Ranks(world)).run(act)


def read(value):
    """A snapshot with all pieces read."""
    if isinstance(value, Pieces):
        return value.read()
    if isinstance(value, dict):
        return {key: read(inner) for key, inner in value.items()}
    return value


EXPECTED = {
    "model": WHOLE,
    "opt": {
        "state": {0: {"exp_avg": AVERAGE, "step": torch.tensor(2.0)}},
        "complex": torch.tensor([1j], dtype=torch.complex128),
    },
    "run": {"step": 4, "text": ["a", None]},
}


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_what_is_read_is_what_all_have_saved(world, tmp_path):
    saved = save(tmp_path, world)
    assert {one.path.name for one in saved} == {"step-00000004"}
    there = checkpoint.read(saved[0].path)
    assert first_difference(read(there.snapshot), EXPECTED) is None
    assert there.manifest == saved[-1].manifest
    assert [one.path for one in CheckpointFolder(tmp_path).all()] == [saved[0].path]


def test_the_comparison_would_see_another_value(tmp_path):
    [saved, _] = save(tmp_path, 2)
    other = {**EXPECTED, "model": {**WHOLE, "bias": torch.ones(2)}}
    assert first_difference(read(checkpoint.read(saved.path).snapshot), other) is not None


def test_each_process_writes_its_own_part_and_the_first_one_the_rest(tmp_path):
    [saved, _] = save(tmp_path, 2)
    sizes = {path.name: path.stat().st_size for path in saved.path.iterdir()}
    assert sorted(sizes) == [
        "manifest.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "shards.json",
        "state-00001-of-00002.safetensors",
        "state-00002-of-00002.safetensors",
        "state.json",
    ]
    said = checkpoint.read_manifest(saved.path)["files"]
    assert {name: one["size"] for name, one in said.items()} == {
        name: size for name, size in sizes.items() if name != "manifest.json"
    }
    for path in saved.path.iterdir():  # nothing of it is a pickle
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError)):
            pickle.load(io.BytesIO(path.read_bytes()))


def test_torch_reads_the_same_files(tmp_path):
    [saved, *_] = save(tmp_path, 3)
    there = {name: torch.zeros_like(WHOLE[name]) for name in ("weight", "bias", "low", "count")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is one process
        dcp.load(there, storage_reader=HuggingFaceStorageReader(str(saved.path)), no_dist=True)
    assert first_difference(there, WHOLE) is None


def test_a_model_reads_them_into_its_places_and_nothing_else_is_held(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(7, 5)), nn.Parameter(torch.zeros(2))
            self.low = nn.Parameter(torch.zeros(2, 6).bfloat16())
            self.register_buffer("count", torch.tensor(0))

    [saved, _] = save(tmp_path, 2)
    model = Model()
    places = [p.data_ptr() for p in model.parameters()]
    there = {"model": checkpoint.read(saved.path).snapshot["model"]}
    restore({"model": ModelState(model)}, there, keeps=False)
    assert first_difference(capture({"model": model})["model"], WHOLE) is None
    assert places == [p.data_ptr() for p in model.parameters()]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["write_part", "seal", "flatten"])
def test_a_failure_in_one_fails_in_all_and_leaves_the_older_ones(rank, name, tmp_path, monkeypatch):
    assert not any(isinstance(end, Exception) for end in save(tmp_path, 2, step=3))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    module = joint_save.plain if name == "flatten" else checkpoint
    original, calls = getattr(module, name), []

    def fails(*arguments):
        calls.append(arguments)
        if name == "write_part":
            result = original(*arguments)
            if arguments[3] == rank:
                raise OSError(errno.ENOSPC, "No space left on device")
            return result
        if name == "seal" or len(calls) == rank + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(module, name, fails)
    ends = save(tmp_path, 2)
    assert {type(end) for end in ends} == {OSError, RemoteRankError}
    failed = [rank for rank, end in enumerate(ends) if isinstance(end, OSError)]
    if name != "flatten":  # which of the two threads is the first to flatten is not known
        assert failed == [0 if name == "seal" else rank]
    for end in ends:
        assert "the checkpoint of step 4 could not be saved in" in str(end)
        assert "No space left on device" in str(end)
        assert "The newest one there is step-00000003; it is as it was." in str(end)
    assert f"rank {failed[0]} failed: OSError" in str(ends[1 - failed[0]])
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    monkeypatch.undo()
    assert not any(isinstance(end, Exception) for end in save(tmp_path, 2))


def test_where_one_is_lost_the_hidden_folder_is_left_to_the_next_run(tmp_path, monkeypatch):
    original = checkpoint.write_part

    def dies(*arguments):
        if arguments[3] == 1:
            raise SystemExit  # no error that is said to the others
        return original(*arguments)

    monkeypatch.setattr(checkpoint, "write_part", dies)
    ranks = Ranks(2)
    ranks.barrier = type(ranks.barrier)(2, timeout=2)
    save(tmp_path, 2, ranks=ranks)
    assert [path.name[:9] for path in tmp_path.iterdir() if path.is_dir()] == [".staging-"]
    assert CheckpointFolder(tmp_path).all() == []
    CheckpointFolder(tmp_path).open("b").close()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_processes_with_different_shards_are_refused(tmp_path):
    def make(engine):
        return {"model": {"weight": cut(WHOLE["weight"], engine)} if engine.rank else {}}

    for end in save(tmp_path, 2, make=make):
        assert "the processes have different shards" in str(end)


def test_without_shards_the_first_one_saves_a_plain_checkpoint(tmp_path):
    ends = save(tmp_path, 2, make=lambda engine: {"model": dict(WHOLE)})
    assert ends[0] == ends[1]
    assert checkpoint.read(ends[1].path).manifest["version"] == checkpoint.VERSION


def test_the_first_must_have_opened_the_folder(tmp_path):
    first, second = save(tmp_path, 2, opens=False)
    assert "is not open for writing" in str(first)
    assert "rank 0 failed: RuntimeError" in str(second)


def test_each_process_looks_through_its_share_and_all_know_of_the_damage(tmp_path):
    [saved, *_] = save(tmp_path, 3)
    whole = Ranks(2).run(lambda engine: checkpoint.read(saved.path, engine).manifest["step"])
    assert whole == [4, 4]
    spoilt = saved.path / "state-00003-of-00003.safetensors"
    data = bytearray(spoilt.read_bytes())
    data[-1] ^= 1
    spoilt.write_bytes(data)
    for end in Ranks(2).run(lambda engine: checkpoint.read(saved.path, engine)):
        assert isinstance(end, checkpoint.DamagedCheckpoint)
        assert "state-00003-of-00003.safetensors has the checksum" in str(end)


def test_processes_that_read_other_folders_are_told_so(tmp_path):
    paths = [save(tmp_path / name, 2)[0].path for name in "ab"]
    for end in Ranks(2).run(lambda engine: checkpoint.read(paths[engine.rank], engine)):
        assert "the processes read other checkpoints" in str(end)


def test_a_file_that_grows_smaller_is_seen(tmp_path):
    [saved, _] = save(tmp_path, 2)
    there = checkpoint.read(saved.path).snapshot["model"]["weight"]
    path = Path(saved.path, "model-00001-of-00002.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="has become another file"):
        there.read()

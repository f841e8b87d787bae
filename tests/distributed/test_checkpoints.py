"""Runs that are stopped and gone on with: D10, D12 and D13 of the guarantees."""

import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from lehr.export import weights
from lehr.state.differences import first_difference
from lehr.state.disk.checkpoint import PARTED, read
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.testing import tiny_learner
from tests.tier import NIGHTLY

from . import jobs

AFTERS = [1, 5, 6, 9] if NIGHTLY else [6, 9]  # of 12 steps, 6 an epoch


# What processes do: all keep the whole model, or each a shard; which then saves it by itself.
HOW = {
    "whole": {},
    "sharded": {"shard": True},
    "parted": {"shard": True, "parts": True},
}


@pytest.fixture(scope="module", params=HOW)
def ends(request, values, tmp_path_factory):
    folder, how = tmp_path_factory.mktemp("exact"), HOW[request.param]
    return values(2, "stopped_and_resumed", folder=str(folder), afters=AFTERS, **how)


@pytest.mark.parametrize("after", AFTERS)
def test_the_same_processes_go_on_bit_for_bit(after, ends):
    for end in ends:
        straight, resumed = end["straight"], end[after]
        assert torch.equal(straight["weights"], resumed["weights"])
        for one, other in zip(straight["rows"], resumed["rows"], strict=True):
            assert one == pytest.approx(other, abs=1e-12)  # what is summed together is not
        assert straight["loss"] == resumed["loss"]


def test_one_process_draws_other_masks(ends, tmp_path):
    """The control: dropout is at work, so the bits above hang on what each process draws."""
    alone = jobs.stopped_and_resumed(str(tmp_path), [])
    assert not torch.allclose(
        alone["straight"]["weights"], ends[0]["straight"]["weights"], atol=1e-2
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return jobs.goes_on_from(str(folder / "straight"))


LARGE = [pytest.mark.large]
PAIRS = [
    pytest.param("2 whole", "1 whole"),
    pytest.param("1 whole", "2 sharded"),
    pytest.param("2 sharded", "3 sharded"),
    pytest.param("2 parted", "1 whole"),
    pytest.param("2 parted", "3 parted"),
    pytest.param("3 parted", "2 whole"),
    pytest.param("2 parted", "2 sharded", marks=LARGE),
    pytest.param("2 sharded", "2 parted", marks=LARGE),
    pytest.param("1 whole", "2 parted", marks=LARGE),
    pytest.param("2 parted", "3 whole", marks=LARGE),
    pytest.param("3 parted", "1 whole", marks=LARGE),
    pytest.param("3 parted", "2 parted", marks=LARGE),
    pytest.param("2 sharded", "1 whole", marks=LARGE),
    pytest.param("1 whole", "2 whole", marks=LARGE),
    pytest.param("2 whole", "2 sharded", marks=LARGE),
    pytest.param("2 whole", "3 whole", marks=LARGE),
    pytest.param("3 sharded", "2 whole", marks=LARGE),
    pytest.param("3 sharded", "1 whole", marks=LARGE),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_other_processes_go_on_in_meaning(before, after, values, straight, tmp_path):
    (before, one), (after, other) = before.split(), after.split()
    before, after = int(before), int(after)
    folder = str(tmp_path / "run")
    steps = values(before, "stops_early", folder=folder, after=7, **HOW[one])
    assert steps == [steps[0]] * before
    for end in values(after, "goes_on_from", folder=folder, **HOW[other]):
        assert torch.allclose(end["weights"], straight["weights"], atol=1e-6)
        assert [row["step"] for row in end["rows"]] == [6, 12, 18]
        for row, expected in zip(end["rows"], straight["rows"], strict=True):
            assert row == pytest.approx(expected, abs=1e-6)
        warned = any(f"processes {before} → {after}" in text for text in end["warned"])
        assert warned == (before != after)
    shutil.rmtree(tmp_path / "run")


# A save of this run changes the disk 6 times, and gathers 16 tensors if the model is sharded. Where
# each process saves its own part, the first changes it 7 times, and the other one twice.
KILLS = [
    *(("disk", 0, number, how) for number in range(6) for how in ("sharded", "whole")),
    *(("gather", rank, number, "sharded") for number in (0, 7, 15) for rank in (0, 1)),
    *(("disk", 0, number, "parted") for number in range(7)),
    *(("disk", 1, number, "parted") for number in range(2)),
]
FEW = [
    *(("disk", 0, 2, "sharded"), ("disk", 0, 5, "sharded")),
    *(("gather", 0, 7, "sharded"), ("gather", 1, 0, "sharded")),
    *(("disk", 0, 6, "parted"), ("disk", 1, 1, "parted")),
]
DEATHS = [pytest.param(*kill, marks=[] if kill in FEW else LARGE) for kill in KILLS]


@pytest.mark.parametrize(("before", "rank", "number", "how"), DEATHS)
def test_a_death_while_saving_leaves_a_checkpoint_to_go_on_from(
    before, rank, number, how, world, straight, tmp_path
):
    folder = str(tmp_path / "run")
    where = {"before": before, "rank": rank, "number": number}
    ended = world(2, "saves_and_dies", folder=folder, **where, **{"shard": False, **HOW[how]})
    assert ended[rank] == ("died", "")  # so there were as many
    assert f"RemoteRankError: rank {rank} is lost" in ended[1 - rank][1]
    saved = CheckpointFolder(Path(folder)).all()
    assert [one.step for one in saved] == [0, 1]  # the one of step 2 was under way
    for one in saved:
        assert read(one.path).snapshot
    end = jobs.goes_on_from(folder)
    assert end["steps"] == 18
    assert torch.allclose(end["weights"], straight["weights"], atol=1e-6)


def test_one_that_cannot_write_its_part_fails_the_save_in_all(world, tmp_path):
    first, second = world(2, "cannot_save", folder=str(tmp_path / "run"), after=2)
    for kind, text in (first, second):
        assert kind == "error"
        assert "the checkpoint of step 2 could not be saved in" in text
        assert "The newest one there is step-00000001; it is as it was." in text
    assert "RemoteRankError" in first[1]
    assert "rank 1 failed: OSError(28, 'No space left on device')" in first[1]
    assert "OSError: [Errno 28]" in second[1]
    folder = CheckpointFolder(tmp_path / "run")
    assert [one.step for one in folder.all()] == [0, 1]
    assert not list((tmp_path / "run").glob(".staging-*"))


def test_its_weights_are_joined_in_one_plain_file(values, tmp_path):
    values(2, "stops_early", folder=str(tmp_path / "run"), after=1, **HOW["parted"])
    newest = CheckpointFolder(tmp_path / "run").newest()[0]
    assert newest.manifest["version"] == PARTED
    weights(newest.path, tmp_path / "joined.safetensors")
    there = safetensors.torch.load_file(tmp_path / "joined.safetensors")
    learn = tiny_learner(
        model=nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Identity(), nn.Linear(8, 2))
    )
    assert not learn.load(newest.path)
    assert first_difference(there, dict(learn.model.state_dict())) is None
    assert sorted(there) == ["0.bias", "0.weight", "3.bias", "3.weight"]


def test_a_process_that_is_asked_to_end_lets_all_save_at_the_same_step(values, tmp_path):
    steps = values(2, "stops_early", folder=str(tmp_path / "run"), after=7)
    saved = sorted(path.name for path in (tmp_path / "run").glob("step-*"))
    assert steps == [steps[0]] * 2
    assert saved[-1] == f"step-{steps[0]:08d}"

"""Runs that are stopped and gone on with: D10, D12 and D13 of the guarantees."""

import shutil
from pathlib import Path

import pytest
import torch

from lehr.state.disk.checkpoint import read
from lehr.state.disk.checkpoint_folder import CheckpointFolder

from . import jobs

AFTERS = [1, 5, 6, 9]  # of 18 steps, 6 an epoch


@pytest.fixture(scope="module", params=["whole", "sharded"])
def ends(request, values, tmp_path_factory):
    folder, shard = tmp_path_factory.mktemp("exact"), request.param == "sharded"
    return values(2, "stopped_and_resumed", folder=str(folder), afters=AFTERS, shard=shard)


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


SLOW = [pytest.mark.slow]
PAIRS = [
    pytest.param("2 whole", "1 whole"),
    pytest.param("1 whole", "2 sharded"),
    pytest.param("2 sharded", "3 sharded"),
    pytest.param("2 sharded", "1 whole", marks=SLOW),
    pytest.param("1 whole", "2 whole", marks=SLOW),
    pytest.param("2 whole", "2 sharded", marks=SLOW),
    pytest.param("2 whole", "3 whole", marks=SLOW),
    pytest.param("3 sharded", "2 whole", marks=SLOW),
    pytest.param("3 sharded", "1 whole", marks=SLOW),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_other_processes_go_on_in_meaning(before, after, values, straight, tmp_path):
    (before, one), (after, other) = before.split(), after.split()
    before, after = int(before), int(after)
    folder = str(tmp_path / "run")
    steps = values(before, "stops_early", folder=folder, after=7, shard=one == "sharded")
    assert steps == [steps[0]] * before
    for end in values(after, "goes_on_from", folder=folder, shard=other == "sharded"):
        assert torch.allclose(end["weights"], straight["weights"], atol=1e-6)
        assert [row["step"] for row in end["rows"]] == [6, 12, 18]
        for row, expected in zip(end["rows"], straight["rows"], strict=True):
            assert row == pytest.approx(expected, abs=1e-6)
        warned = any(f"processes {before} → {after}" in text for text in end["warned"])
        assert warned == (before != after)
    shutil.rmtree(tmp_path / "run")


# A save of this run changes the disk 6 times, and gathers 16 tensors if the model is sharded.
KILLS = [
    *(("disk", 0, number, shard) for number in range(6) for shard in (True, False)),
    *(("gather", rank, number, True) for number in (0, 7, 15) for rank in (0, 1)),
]
FEW = [("disk", 0, 2, True), ("disk", 0, 5, True), ("gather", 0, 7, True), ("gather", 1, 0, True)]
DEATHS = [pytest.param(*kill, marks=[] if kill in FEW else SLOW) for kill in KILLS]


@pytest.mark.parametrize(("before", "rank", "number", "shard"), DEATHS)
def test_a_death_while_saving_leaves_a_checkpoint_to_go_on_from(
    before, rank, number, shard, world, straight, tmp_path
):
    folder = str(tmp_path / "run")
    how = {"before": before, "number": number, "shard": shard}
    ended = world(2, "saves_and_dies", folder=folder, rank=rank, **how)
    assert ended[rank] == ("died", "")  # so there were as many
    assert f"RemoteRankError: rank {rank} is lost" in ended[1 - rank][1]
    saved = CheckpointFolder(Path(folder)).all()
    assert [one.step for one in saved] == [0, 1]  # the one of step 2 was under way
    for one in saved:
        assert read(one.path).snapshot
    end = jobs.goes_on_from(folder)
    assert end["steps"] == 18
    assert torch.allclose(end["weights"], straight["weights"], atol=1e-6)


def test_a_process_that_is_asked_to_end_lets_all_save_at_the_same_step(values, tmp_path):
    steps = values(2, "stops_early", folder=str(tmp_path / "run"), after=7)
    saved = sorted(path.name for path in (tmp_path / "run").glob("step-*"))
    assert steps == [steps[0]] * 2
    assert saved[-1] == f"step-{steps[0]:08d}"

"""Which processes there are."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from lehr.distributed.group import join, name_of_start

from . import jobs


def test_without_others_there_is_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not join(10)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not join(10)
    assert not dist.is_initialized()


def test_a_group_that_exists_is_used_and_left_alone(values):
    for world, exists, total, left in values(2, "in_a_group_of_others"):
        assert (world, exists, total) == (2, True, 2.0)
        assert left == [1, 1]  # a group of lehr's own is gone with its engine


def test_a_group_of_one_is_nobody_else(values):
    ((world, exists, total, left),) = values(1, "in_a_group_of_others")
    assert (world, exists, total, left) == (1, True, 1.0, [1, 0])


@pytest.fixture(scope="module")
def straight(values, tmp_path_factory):
    """The weights without any failure."""
    folder = tmp_path_factory.mktemp("straight")
    return values(2, "fits_without_a_stop", folder=str(folder))[0]


@pytest.mark.slow
@pytest.mark.large
def test_torchrun_starts_again_where_it_was(tmp_path, values, straight):
    """A process fails after a checkpoint, then one is killed: torchrun begins anew each time."""
    assert values(1, "restarts", folder=str(tmp_path), ways=["raise", "kill"]) == [straight]
    assert (tmp_path / "attempts.txt").read_text() == "012"


@pytest.mark.slow
def test_torchrun_starts_again_on_two_machines_that_count_their_restarts_apart(
    tmp_path, values, straight
):
    """The machine whose process was killed counts a restart, and the other one may not."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    options = {"folder": str(tmp_path), "ways": ["raise", "kill"], "machines": 2, "port": port}
    assert values(2, "restarts", **options) == [straight, straight]
    assert [(tmp_path / f"starts of {rank}.txt").read_text() for rank in (0, 1)] == ["...", "..."]


def start_of(store, world):
    """What each process calls a start."""
    with ThreadPoolExecutor(world) as processes:
        wait = timedelta(seconds=10)
        return [*processes.map(lambda rank: name_of_start(store, rank, world, wait), range(world))]


def test_each_start_has_a_name_of_its_own_that_all_know():
    store = dist.HashStore()
    starts = [start_of(store, world) for world in (3, 3, 2)]
    assert [len(set(names)) for names in starts] == [1, 1, 1]
    assert len({names[0] for names in starts}) == 3


def test_who_does_not_start_is_named():
    store = dist.HashStore()
    start_of(store, 3)
    text = r"rank 1 of 3 has not started in 0\.02 seconds\. Look at what it says; or give"
    with pytest.raises(TimeoutError, match=text):
        name_of_start(store, 0, 3, timedelta(seconds=0.02))
    with pytest.raises(TimeoutError, match=r"rank 0 of 3 has not started in 0\.02 seconds\. Look"):
        name_of_start(dist.HashStore(), 1, 3, timedelta(seconds=0.02))


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.timeout(600)
def test_torchrun_starts_a_program_again_where_it_was(tmp_path, straight):
    """The same at the command line, where every process imports everything."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
        + ["--max-restarts=2", "--standalone", jobs.__file__, str(tmp_path), "raise", "kill"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "attempts.txt").read_text() == "012"
    assert (tmp_path / "weights.txt").read_text() == straight

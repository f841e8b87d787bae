"""Which processes there are."""

import pytest
import torch.distributed as dist

from lehr.distributed.group import join


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_starts_again_where_it_was(tmp_path):
    """A process that fails, or is killed, after a checkpoint; torchrun begins anew."""
    import os
    import subprocess
    import sys

    from . import jobs

    straight = None
    for how in ("", "raise", "kill"):
        folder = tmp_path / (how or "straight")
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
            + ["--max-restarts=1", "--standalone", jobs.__file__, str(folder), how],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        weights = (folder / "weights.txt").read_text()
        straight = weights if straight is None else straight
        assert weights == straight
        assert (folder / "attempts.txt").read_text() == ("01" if how else "0")

"""A process is killed while it saves checkpoints: the newest whole one is there, or the one before.

Each child goes on in the folder where the one before it was killed.
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from lehr.state.differences import first_difference
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from tests.tier import NIGHTLY

from ..faults import figures
from .saver import snapshot

SAVER = Path(__file__).with_name("saver.py")
KILLS = 500 if NIGHTLY else 15
ENOUGH = KILLS // 5  # in the middle of a save; fewer would prove little
LONGEST = 0.05  # seconds; a save takes a tenth of that, or more on a slow disk


@pytest.fixture(scope="module")
def saver():
    command, pipe = [sys.executable, str(SAVER)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.close()


def killed(saver, folder, seconds):
    """The last step that was saved, by the account of a child that was killed."""
    saver.stdin.write(f"{folder} {seconds}\n")
    saver.stdin.flush()
    return int(saver.stdout.readline())


def newest(folder):
    """The step of the newest checkpoint in a folder, if all of it is that step's."""
    found, problems = CheckpointFolder(folder).newest()
    assert problems == []
    step = found.manifest["step"]
    assert first_difference(snapshot(step), found.snapshot) is None
    return step


def test_killed_at_any_moment_the_folder_loads_as_of_the_last_save_or_the_one_before(
    tmp_path, saver
):
    folder, draw = tmp_path / "saved", random.Random(0)
    kills = saves = under_way = bad = 0
    while kills < KILLS or (under_way < ENOUGH and kills < 10 * KILLS):  # a fast disk needs more
        kills += 1
        saved = killed(saver, folder, draw.uniform(0, LONGEST))
        under_way += any(folder.glob(".staging-*")) or any(folder.glob(".pruned-*"))
        try:
            loaded = newest(folder)
        except Exception:
            bad += 1
        else:
            bad += loaded not in (saved, saved + 1)  # it may have died before it could tell
            saves = loaded
    row = {"kills": kills, "in the middle of a save": under_way, "saves": saves, "bad loads": bad}
    name = "one process after the other"
    figures.keep("killed_saves", name, row, [name])
    assert bad == 0
    assert under_way >= ENOUGH


def test_a_checkpoint_of_another_step_or_a_torn_one_would_be_seen(tmp_path):
    with CheckpointFolder(tmp_path).open("one") as saved:
        saved.save(snapshot(1), {"step": 1, "epoch": 0})
        assert newest(tmp_path) == 1
        mixed = snapshot(2) | {"run": {"step": 1}}
        saved.save(mixed, {"step": 2, "epoch": 0})
    with pytest.raises(AssertionError):
        newest(tmp_path)
    file = next(tmp_path.glob("step-*2")) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(AssertionError):
        newest(tmp_path)

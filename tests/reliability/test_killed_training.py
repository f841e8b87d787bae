"""A process that is killed at any moment, and started again until it is done, ends right."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lehr.state.differences import first_difference
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from tests.tier import NIGHTLY

from ..faults.figures import Tally

NURSERY = Path(__file__).with_name("nursery.py")
AT_MOST = 12  # kills of one run
COUNT = 200 if NIGHTLY else 5
TALLY = Tally("killed_trainings", "trainings", "other ends", of=COUNT)


@pytest.fixture(scope="module")
def nursery():
    command = [sys.executable, str(NURSERY)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.close()


def attempt(nursery, folder, seconds=-1.0, background=0, workers=0):
    nursery.stdin.write(f"{folder} {seconds} {background} {workers}\n")
    nursery.stdin.flush()
    answer = nursery.stdout.readline().strip()
    assert answer in ("killed", "done"), folder.with_suffix(".txt").read_text()
    return answer


def end(folder):
    """What a run that is done has left on the disk; the clock stood still in it."""
    found, problems = CheckpointFolder(folder / "saved").newest()
    assert problems == []
    snapshot = dict(found.snapshot)
    for held in (snapshot, *(kept["snapshot"] for kept in snapshot["callbacks.rewind"]["kept"])):
        del held["callbacks.checkpoint"], held["callbacks.progress"]
    files = {name: (folder / name).read_bytes().hex() for name in ("log.csv", "log.jsonl")}
    return {"step": found.manifest["step"], "stage": found.manifest["stage"], **snapshot, **files}


@pytest.fixture(scope="module")
def straight(nursery, tmp_path_factory):
    """The end of a run that nobody killed, with and without workers, and how long it took."""
    ends = {}
    for workers in (0, 2):
        for name in ("first", "second") if workers == 0 else ("only",):
            # the first of all waits for the nursery as well
            folder = tmp_path_factory.mktemp("straight") / name
            began = time.monotonic()
            assert attempt(nursery, folder, workers=workers) == "done"
            ends[workers] = end(folder), time.monotonic() - began
    return ends


@pytest.mark.slow
@pytest.mark.parametrize("number", range(COUNT))
def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(
    tmp_path, nursery, straight, number
):
    draw = random.Random(number)
    workers, background = 2 * (number % 5 == 4), number % 2
    expected, seconds = straight[workers]
    folder, answers = tmp_path / "run", []
    while "done" not in answers:
        wait = draw.uniform(0, seconds) if len(answers) < AT_MOST else -1.0
        answers.append(attempt(nursery, folder, wait, background, workers))
    difference = first_difference(expected, end(folder))
    TALLY.add(good=difference is None, kills=answers.count("killed"))
    assert difference is None
    leftovers = [path.name for path in (folder / "saved").iterdir() if path.name[0] == "."]
    assert leftovers == [".lock"]


@pytest.mark.slow
def test_kills_meet_a_run_at_many_places(tmp_path, nursery, straight):
    """Else the test above would prove little; and a run that is not done is not like its end."""
    draw, steps = random.Random(1), []
    for number in range(12 if NIGHTLY else 8):
        folder = tmp_path / str(number)
        if attempt(nursery, folder, draw.uniform(0, straight[0][1])) == "killed":
            found, _ = CheckpointFolder(folder / "saved").newest()
            if found is not None:
                steps.append(found.manifest["step"])
                same = first_difference(straight[0][0], end(folder)) is None
                assert same is (found.manifest["stage"] == "epoch" and steps[-1] == 24)
    assert len(set(steps)) >= 3


@pytest.mark.slow
@pytest.mark.large
def test_with_a_new_interpreter_every_time(tmp_path, straight):
    folder = tmp_path / "run"
    for step in (9, None):
        with subprocess.Popen(
            [sys.executable, str(NURSERY), str(folder)], stdout=subprocess.DEVNULL
        ) as process:
            while step and not (folder / "saved" / f"step-{step:08d}").exists():
                assert process.poll() is None
                time.sleep(0.002)
            if step:
                process.kill()
        assert (process.returncode == 0) is (step is None)
    assert first_difference(straight[0][0], end(folder)) is None

"""A power cut loses at most what was being written, whatever the disk had kept to itself."""

import random
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from lehr.base.files import replace_file
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from tests.tier import NIGHTLY

from . import figures
from .power import Disk, recorded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc for open files")
CUTS = {"checkpoints": 150, "a file": 50}


def snapshot(step):
    return {"model": {"w": torch.full((50,), float(step))}, "run": {"step": step}}


def save_checkpoints(folder, recorder):
    with CheckpointFolder(folder / "saved").open("one") as saved:
        for step in range(6):
            saved.save(snapshot(step), {"step": step, "epoch": 0})
            recorder.done(step)
            saved.prune(2, run="one")


def replace_a_file(folder, recorder):
    for step in range(6):
        replace_file(folder / "file", b"%d" % step * 100)
        recorder.done(step)


def saved_step(place):
    """The step that a disk holds, -1 for none; and what is wrong."""
    found, problems = CheckpointFolder(place / "saved").newest()
    if found is None:
        return -1, problems
    right = found.snapshot["run"]["step"] == found.manifest["step"]
    right = right and torch.equal(
        found.snapshot["model"]["w"], snapshot(found.manifest["step"])["model"]["w"]
    )
    return found.manifest["step"], [*problems, *["a mixture"] * (not right)]


def file_step(place):
    path = place / "file"
    if not path.exists():
        return -1, []
    data = path.read_bytes()
    whole = len(data) == 100 and len(set(data)) == 1 and data[:1].isdigit()
    return (int(data[:1]), []) if whole else (-1, [f"the file holds {data[:9]!r}"])


JOBS = {"checkpoints": (save_checkpoints, saved_step), "a file": (replace_a_file, file_step)}


def go_on(place):
    """Another save, as a run that is started again makes it; and nothing hidden is left."""
    with CheckpointFolder(place / "saved").open("one") as saved:
        saved.save(snapshot(9), {"step": 9, "epoch": 0})
    hidden = [path.name for path in (place / "saved").iterdir() if path.name[0] == "."]
    return [] if saved_step(place) == (9, []) and hidden == [".lock"] else [f"left: {hidden}"]


def wrong_after(events, number, read, place, more=lambda place: []):
    """What is wrong if the power fails after so many events."""
    disk, done, begun = Disk(), -1, -1
    for event in events[:number]:
        disk.happen(event)
        done = event[1] if event[0] == "done" else done
    begun = done + 1
    disk.cut(place, random.Random(f"{number} {place.name}"))
    step, problems = read(place)
    if problems or not done <= step <= begun:
        return [f"{events[number - 1][:2]}: step {step}, {done} was done: {problems}"]
    return more(place)


def events_of(job, folder):
    folder.mkdir()
    with recorded(folder) as recorder:
        JOBS[job][0](folder, recorder)
    return recorder.events


def places(events, cuts):
    """After which event the power fails: in the large tier, after each, ten times."""
    numbers = range(1, len(events) + 1)
    if NIGHTLY:
        return [number for number in numbers for _ in range(10)]
    return [numbers[i * len(numbers) // cuts] for i in range(cuts)]


@pytest.mark.parametrize("job", JOBS)
def test_a_power_cut_leaves_what_was_done_or_what_was_being_done(tmp_path, job):
    events, read = events_of(job, tmp_path / "straight"), JOBS[job][1]
    more = go_on if job == "checkpoints" else lambda place: []
    wrong, numbers = [], places(events, CUTS[job])
    for i, number in enumerate(numbers):
        wrong += wrong_after(events, number, read, tmp_path / str(i), more)
    row = {"power cuts": len(numbers), "events": len(events), "damaged": len(wrong)}
    figures.keep("faults_power", job, row, JOBS)
    assert not wrong, "\n".join(wrong)
    assert len({event[0] for event in events}) >= 5


def found_without(left_out, tmp_path, job):
    events = events_of(job, tmp_path / "straight")
    events = [event for event in events if not left_out(event)]
    seen = partial(wrong_after, read=JOBS[job][1])
    return [
        w
        for i, n in enumerate(places(events, 150))
        for w in seen(events, n, place=tmp_path / str(i))
    ]


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("what", ["nothing", "no file", "no folder"])
def test_what_is_not_synced_would_be_seen(tmp_path, job, what):
    def left_out(event):
        if event[0] != "fsync":
            return False
        is_folder = event[1] in (".", "saved") or Path(event[1]).name.startswith(".staging")
        return what == "nothing" or (what == "no folder") == is_folder

    assert found_without(left_out, tmp_path, job)

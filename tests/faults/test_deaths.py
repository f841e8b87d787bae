"""A death at any operation on the disk: the folder reads as before it or as after it.

So it does where the disk refuses an operation. And whoever goes on from there ends where a process
that never died ends.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from lehr.base import strict_json
from lehr.report import RunRecord
from lehr.state.differences import first_difference
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from tests.tier import NIGHTLY

from . import figures

NURSERY = Path(__file__).with_name("nursery.py")
AT_COMMIT = {"checkpoints": 10, "logs": 8, "background": 3, "whole_run": 4, "weights": 8}
AT_NIGHT = {"checkpoints": 250, "logs": 250, "background": 250, "whole_run": 250, "weights": 100}
ERRORS = ("ENOSPC", "EIO", "EACCES", "EDQUOT", "EROFS")
EVERY = {"checkpoints": 29, "logs": 37, "background": 61, "whole_run": 97, "weights": 5}


class Nursery:
    """Asks the process that runs jobs in children."""

    def __init__(self, process) -> None:
        self.process = process

    def ask(self, job, folder, die=0, how="before"):
        line = json.dumps({"job": job, "folder": str(folder), "die": die, "how": how})
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    command, pipe = [sys.executable, str(NURSERY)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        found = Nursery(process)
        found.ask("load everything", tmp_path_factory.mktemp("everything"))
        yield found
        process.stdin.close()


def whole(path: Path) -> bool:
    """Whether a file is all there, by what its kind looks like to its end."""
    data = path.read_bytes()
    if path.suffix == ".json":
        return strict_json.parse(data) is not None
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return all(file.get_tensor(name) is not None for name in file.keys())  # noqa: SIM118
    if path.suffix == ".html":
        return data.rstrip().endswith(b"</html>")
    if path.suffix == ".png":
        return data.endswith(b"IEND\xaeB`\x82")
    if path.suffix in (".csv", ".jsonl"):
        return not data or data.endswith(b"\n")
    return True


def damage(folder: Path) -> list[str]:
    """What of a folder cannot be read, or is neither old nor new."""
    wrong: list[str] = []
    for saved in folder.rglob("saved"), folder.rglob("checkpoints"):
        for path in saved:
            wrong += CheckpointFolder(path).newest()[1]
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            try:
                if not whole(path):
                    wrong.append(f"{path.name} is half written")
            except Exception as error:
                wrong.append(f"{path.name}: {error}")
    if (folder / "run" / "config.json").is_file():
        try:
            RunRecord.read(folder / "run")
        except ValueError as error:
            wrong.append(str(error))
    return wrong


def leftovers(folder: Path) -> list[str]:
    """What a death left, and nobody swept."""
    return sorted(
        re.sub(r"\.[0-9a-f]{16}\.part$", ".part", str(path.relative_to(folder)))
        for path in folder.rglob(".*")
        if path.name != ".lock" and ".staging" not in str(path.parent)
    )


def end(folder: Path):
    """What a job that is done has made."""
    found = {}
    for name in ("saved", "run/checkpoints"):
        if (folder / name).is_dir():
            newest, problems = CheckpointFolder(folder / name).newest()
            assert problems == []
            found[name] = dict(newest.snapshot)
            found[name].pop("callbacks.checkpoint", None)
    for path in (*folder.glob("*.*"), *folder.glob("run/history.*"), *folder.glob("run/*.sa*")):
        if path.name[0] != ".":
            found[path.name] = path.read_bytes().hex()
    return found


def spread(operations, n):
    """So many deaths over a job: before operations, and, of writes, in their middle."""
    every = [(number, "before") for number in range(1, len(operations) + 1)]
    every += [(n, "half") for n, what in enumerate(operations, 1) if what == "write"]
    every.sort()
    step = max(1, len(every) / n)
    return [every[int(i * step)] for i in range(min(n, len(every)))]


@pytest.mark.parametrize("job", AT_COMMIT)
def test_a_death_leaves_the_folder_as_before_or_as_after(tmp_path, nursery, job):
    straight = nursery.ask(job, tmp_path / "straight")
    assert straight["ended"] == "done", (tmp_path / "straight.txt").read_text()
    expected, operations = end(tmp_path / "straight"), straight["operations"]
    assert damage(tmp_path / "straight") == []
    wrong, deaths, left = {}, 0, set()
    for die, how in spread(operations, (AT_NIGHT if NIGHTLY else AT_COMMIT)[job]):
        folder = tmp_path / f"{die}{how}"
        assert nursery.ask(job, folder, die, how)["ended"] == "died"
        deaths += 1
        found = damage(folder)
        if nursery.ask(job, folder)["ended"] != "done":
            found.append((tmp_path / f"{die}{how}.txt").read_text()[-600:])
        else:
            found += damage(folder)
            difference = first_difference(expected, end(folder))
            found += [f"another end: {difference}"] * (difference is not None)
            left |= set(leftovers(folder))
        if found:
            wrong[f"{how} {die}: {operations[die - 1]}"] = found
        shutil.rmtree(folder)
    row = {
        "operations": len(operations),
        "deaths": deaths,
        "damaged folders": len(wrong),
        "left over": sorted(left),
    }
    figures.keep("faults_deaths", job, row, AT_COMMIT)
    assert not wrong, "\n".join(f"{place}: {what}" for place, what in wrong.items())


def without_logs(made):
    """An end, but for what logs hold."""
    logs = ("log.csv", "log.jsonl", "history.csv", "history.jsonl")
    kept = {name: value for name, value in made.items() if name not in logs}
    return {
        name: {k: v for k, v in value.items() if not k.endswith("_log")}
        if isinstance(value, dict)
        else value
        for name, value in kept.items()
    }


def refusals(job, operations):
    """At which operations the disk refuses, and how: in the large tier, all five at each."""
    numbers = range(1, len(operations) + 1)
    if NIGHTLY:
        return [(number, error) for number in numbers for error in ERRORS]
    return [(number, ERRORS[i % 5]) for i, number in enumerate(numbers[:: EVERY[job]])]


@pytest.mark.parametrize("job", EVERY)
def test_where_the_disk_refuses_the_folder_is_as_before_and_one_clear_error_comes_out(
    tmp_path, nursery, job
):
    straight = nursery.ask(job, tmp_path / "straight")
    expected, operations = end(tmp_path / "straight"), straight["operations"]
    wrong, trials, ended = {}, 0, set()
    for number, error in refusals(job, operations):
        folder = tmp_path / f"{number}{error}"
        answer = nursery.ask(job, folder, number, error)
        trials += 1
        ended.add(answer["ended"])
        found = damage(folder)
        reason = os.strerror(getattr(errno, error))
        if answer["ended"] == "failed" and reason.lower() not in answer["errors"][1].lower():
            found.append(f"another error: {answer['errors']}")
        if nursery.ask(job, folder)["ended"] != "done":
            found.append((tmp_path / f"{number}{error}.txt").read_text()[-600:])
        else:
            lost = answer["ended"] == "done"  # then a log may lack what the disk did not take
            difference = first_difference(
                *(without_logs(e) if lost else e for e in (expected, end(folder)))
            )
            found += [f"another end: {difference}"] * (difference is not None)
            found += [f"{name} is left" for name in leftovers(folder)]
        if found:
            wrong[f"{error} at {number}: {operations[number - 1]}"] = found
        shutil.rmtree(folder)
    row = {"refusals": trials, "damaged folders": len(wrong)}
    figures.keep("faults_refusals", job, row, EVERY)
    assert not wrong, "\n".join(f"{place}: {what}" for place, what in wrong.items())
    assert "failed" in ended


def test_a_half_written_file_would_be_seen(tmp_path, nursery):
    assert nursery.ask("weights", tmp_path / "a")["ended"] == "done"
    path = tmp_path / "a" / "weights.safetensors"
    assert damage(tmp_path / "a") == []
    path.write_bytes(path.read_bytes()[:-1])
    assert len(damage(tmp_path / "a")) == 1


def test_all_kinds_of_operations_are_met(tmp_path, nursery):
    kinds = set()
    for job in ("checkpoints", "logs"):
        operations = nursery.ask(job, tmp_path / job)["operations"]
        kinds |= {what.split()[0] for what in operations}
    assert kinds >= {"open", "write", "fsync", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}

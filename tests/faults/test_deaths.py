"""A death at any operation on the disk: the folder reads as before it or as after it.

And whoever goes on from there ends where a process that never died ends.
"""

import json
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

from . import figures

NURSERY = Path(__file__).with_name("nursery.py")
AT_COMMIT = {"checkpoints": 40, "logs": 25, "whole_run": 10, "weights": 20}
AT_NIGHT = {"checkpoints": 250, "logs": 250, "whole_run": 250, "weights": 100}
FIGURES = {}


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


@pytest.fixture(scope="module", autouse=True)
def _figures():
    FIGURES.clear()
    yield
    figures.write("faults_deaths", FIGURES)


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
    for die, how in spread(operations, (AT_NIGHT if figures.NIGHTLY else AT_COMMIT)[job]):
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
    FIGURES[job] = {
        "operations": len(operations),
        "deaths": deaths,
        "damaged folders": len(wrong),
        "left over": sorted(left),
    }
    assert not wrong, "\n".join(f"{place}: {what}" for place, what in wrong.items())


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

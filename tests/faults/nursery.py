"""A process that has loaded everything and runs jobs in children, each of which dies where told.

A line of JSON ``{"job", "folder", "die", "how"}`` runs a job in a folder. Its child dies at the
operation on the disk with the number ``die``, counted from 1: before it, or, where ``how`` is
``half``, in the middle of it; where it is the name of an error, such as ``ENOSPC``, the disk
refuses that operation, and the child lives. The answer is ``{"ended", "operations", "errors"}``:
``died``, ``done`` or ``failed``, what was done on the disk until then, and what came out.
"""

import errno
import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import torch

import lehr.callbacks.measure.recorder as recorder
import lehr.report.run_folder as run_folder
from lehr import Learner, accuracy
from lehr.callbacks import Checkpoint, CSVLog, JSONLLog
from lehr.data import DataBunch, DataLoader, Dataset
from lehr.report import RunFolder
from lehr.state.disk.checkpoint_folder import CheckpointFolder

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
DIED = 9


class Disk:
    """Counts what is done on the disk in a folder, and ends the process at one of these."""

    def __init__(self) -> None:
        self.folder, self.die, self.how = "", 0, "before"
        self.operations: list[str] = []
        self._write = os.write
        sys.addaudithook(self._hear)

    def begin(self, folder: Path, die: int, how: str) -> None:
        self.operations, self.die, self.how = [], die, how
        os.write, os.fsync = self._written, self._synced
        self.folder = str(folder)

    def _hear(self, event: str, args: Any) -> None:
        if not self.folder:
            return
        if event == "open":
            flags = args[2]
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in CHANGES:
            return
        if isinstance(args[0], (str, bytes, os.PathLike)):
            path = str(Path(os.fsdecode(args[0])).absolute())
            if path.startswith(self.folder):
                self._count(f"{event} {os.path.relpath(path, self.folder)}")

    def _count(self, what: str) -> bool:
        self.operations.append(what)
        here = len(self.operations) == self.die
        if here and self.how.startswith("E"):
            number = getattr(errno, self.how)
            raise OSError(number, os.strerror(number))
        if here and self.how != "half":
            os._exit(DIED)
        return here

    def _written(self, descriptor: int, data: Any) -> int:
        if self._count("write"):
            view = memoryview(data).cast("B")
            self._write(descriptor, view[: len(view) // 2])
            os._exit(DIED)
        return self._write(descriptor, data)

    def _synced(self, descriptor: int) -> None:
        self._count("fsync")
        os.fstat(descriptor)  # what a process has written outlives it; test_power_cuts has the rest


def learner() -> Learner:
    """Small, with dropout and momentum."""
    torch.manual_seed(0)
    random.seed(0)  # Python's own is another in every child
    model = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Dropout(0.3), torch.nn.Linear(6, 2))
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    y = (x.sum(1) > 0).long()
    data = DataBunch(
        DataLoader(Dataset(x[:12], y[:12]), 4, shuffle=True),
        DataLoader(Dataset(x[12:], y[12:]), 4),
        c=2,
    )
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_func = torch.nn.functional.cross_entropy
    return Learner(model, opt, loss_func, data, metrics=[accuracy], progress=False, seed=3)


def checkpoints(folder: Path) -> None:
    """Saves, commits and prunes."""
    with CheckpointFolder(folder / "saved").open("one") as saved:
        done = max((one.step for one in saved.all()), default=-1)
        for step in range(done + 1, 7):
            weights = torch.full((300,), float(step))
            saved.save({"model": {"w": weights}}, {"step": step, "epoch": 0})
            saved.prune(2, run="one")
        saved.prune(2, run="one")


def logs(folder: Path) -> None:
    """A fit with both logs and checkpoints, gone on with where it was left."""
    learn = learner()
    learn.callbacks = [
        CSVLog(folder / "log.csv"),
        JSONLLog(folder / "log.jsonl"),
        Checkpoint(folder / "saved", every="2 steps"),
    ]
    learn.fit(3, resume="auto")


def whole_run(folder: Path) -> None:
    """A run folder with all that belongs to it: logs, weights, plots, evaluation, report."""
    run, learn = folder / "run", learner()
    learn.callbacks = [Checkpoint(run / "checkpoints", every="2 steps")]
    resumed = any(run.glob("checkpoints/step-*"))
    made = RunFolder(run) if run.is_dir() else RunFolder.create(run)
    with made.keep(learn, {"epochs": 2}, resumed=resumed):
        learn.fit(2, resume="auto")


def background(folder: Path) -> None:
    """A fit whose checkpoints are written by a thread."""
    learn = learner()
    learn.callbacks = [Checkpoint(folder / "saved", every="2 steps", background=True)]
    learn.fit(3, resume="auto")


def weights(folder: Path) -> None:
    """Weights that take the place of others."""
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        learn = learner()
        with torch.no_grad():
            for p in learn.model.parameters():
                p.fill_(value)
        learn.save(folder / "weights.safetensors")


JOBS: dict[str, Callable[[Path], None]] = {
    "checkpoints": checkpoints,
    "logs": logs,
    "background": background,
    "whole_run": whole_run,
    "weights": weights,
}


def run(disk: Disk, job: str, folder: str, die: int, how: str) -> dict[str, Any]:
    """One child, from its birth to its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code, errors = 1, list[str]()
        try:
            os.close(reading)
            output = os.open(f"{folder}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            disk.begin(Path(folder), die, how)
            JOBS[job](Path(folder))
            code = 0
        except BaseException as error:
            traceback.print_exc()
            errors = [type(error).__name__, str(error)]
        finally:
            disk.folder = ""
            said = {"operations": disk.operations, "errors": errors}
            disk._write(writing, json.dumps(said).encode())
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    ended = {0: "done", DIED: "died"}.get(code, "failed")
    return {"operations": [], "errors": [], **json.loads(said or b"{}"), "ended": ended}


def main() -> None:
    """Answer every line."""
    torch.set_num_threads(1)
    recorder.perf_counter = lambda: 0.0
    run_folder._now = lambda: str(datetime(2020, 1, 1))
    disk = Disk()
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["job"] == "load everything":
            with redirect_stdout(StringIO()):
                for job in JOBS.values():
                    folder = Path(asked["folder"], job.__name__)
                    folder.mkdir()
                    job(folder)
            answer: dict[str, Any] = {"ended": "done", "operations": []}
        else:
            Path(asked["folder"]).mkdir(exist_ok=True)
            answer = run(disk, **asked)
        with suppress(BrokenPipeError):
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

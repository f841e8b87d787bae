"""A long training, and many short ones, in a process of their own: what they leave is counted.

``python long_run.py EPOCHS FITS [keep]`` prints, as JSON, what was there every tenth of the way;
with ``keep``, something is kept on purpose.
"""

import ctypes
import gc
import json
import os
import resource
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import torch

from lehr import Callback, accuracy
from lehr.callbacks import EMA, Checkpoint, CSVLog, JSONLLog, ParamScheduler
from lehr.schedules import sched_cos
from lehr.testing import tiny_learner

KEPT: list[torch.Tensor] = []


def gathered() -> dict[str, int]:
    """What a process may gather: tensors, memory in bytes, open files, threads, children."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what is kept to be used again is not gathered
    alive = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "tensors": alive,
        "memory": pages * resource.getpagesize(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "children": len(children),
    }


class Count(Callback):
    """Counts every tenth of the way."""

    state = ()
    replays = False

    def __init__(self, epochs: int, *, keep: bool) -> None:
        self.every, self.keep, self.seen = max(1, epochs // 10), keep, list[dict[str, int]]()

    def after_batch(self, run):
        if self.keep and run.training:
            KEPT.append(run.loss.detach().expand(2000).clone())

    def after_epoch(self, run):
        if (run.epoch + 1) % self.every == 0:
            self.seen.append(gathered())


class Fails(Callback):
    """Raises in the third batch."""

    state = ()

    def after_loss(self, run):
        if run.n_iter == 2:
            raise ZeroDivisionError


def learner(folder: Path, *callbacks: Callback):
    schedule = ParamScheduler("lr", sched_cos(0.1, 0.01))
    logs = [CSVLog(folder / "log.csv"), JSONLLog(folder / "log.jsonl")]
    saver = Checkpoint(folder / "saved", every="50 epochs")
    usual = [schedule, EMA(), *logs, saver]
    return tiny_learner([*usual, *callbacks], items=160, metrics=[accuracy])


def short(number: int, folder: Path, *, keep: bool) -> bool:
    """One fit, every other one ends with an error; whether its Learner dies with its last name."""
    learn = learner(folder / str(number), *([Fails()] if number % 2 else []))
    (folder / str(number)).mkdir()
    with suppress(ZeroDivisionError):
        learn.fit(1)
    if keep:
        KEPT.append(learn.model[0].weight)
        learn.model.own = learn
    gc.disable()
    name = weakref.ref(learn)
    del learn
    dead = name() is None
    gc.enable()
    return dead


def main() -> None:
    """Train, count, and tell."""
    epochs, fits, keep = int(sys.argv[1]), int(sys.argv[2]), "keep" in sys.argv
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "long").mkdir()
        count = Count(epochs, keep=keep)
        learner(folder / "long", count).fit(epochs)
        short(-2, folder, keep=False), short(-1, folder, keep=False)
        before = gathered()
        dead = sum(short(number, folder, keep=keep) for number in range(fits))
        after = gathered()
    print(json.dumps({"long": count.seen, "dead": dead, "before": before, "after": after}))


if __name__ == "__main__":
    main()

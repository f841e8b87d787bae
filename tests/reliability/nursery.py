"""A process that has loaded everything and trains in children, which may be killed at any moment.

A line ``FOLDER SECONDS BACKGROUND WORKERS`` trains in FOLDER, going on where the last child was
left, and kills it after so many seconds (a negative number: never). The answer is ``killed``,
``done`` or ``failed``.
"""

import os
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from signal import SIGKILL

import torch
from jobs import Job

import lehr.callbacks.measure.recorder as recorder
from lehr import Callback
from lehr.callbacks import Checkpoint


class Linger(Callback):
    """Makes a run long enough to be killed."""

    state = ()
    replays = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def begin_batch(self, run):
        time.sleep(self.seconds)


def train(folder: Path, *, background: bool, workers: int, linger: float = 0.002) -> None:
    """Train to the end, from wherever it was left."""
    recorder.perf_counter = lambda: 0.0
    job = Job(optimizer="adamw", validate_every="4 steps", workers=workers, item_seeds=workers > 0)
    learn = job.learner(folder)
    saver = Checkpoint(folder / "saved", every="3 steps", background=background)
    others = [cb for cb in learn.callbacks if not isinstance(cb, Checkpoint)]
    learn.callbacks = [*others, saver, Linger(linger)]
    learn.fit(resume="auto", **job.fit_arguments())


def main() -> None:
    """Answer every line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        train(Path(folder, "run"), background=False, workers=0)  # loads the rest of torch
    before = None
    for line in sys.stdin:
        folder, *rest = line.rsplit(maxsplit=3)  # its path may have spaces
        answer, child = attempt(Path(folder), *rest)
        end_workers(before)  # until now they lived beside the training that goes on
        before = child
        print(answer, flush=True)
    end_workers(before)


def end_workers(child: int | None) -> None:
    """A worker that was just being born when its training was killed never hears of it."""
    if child is not None:
        with suppress(ProcessLookupError):
            os.killpg(child, SIGKILL)


def attempt(folder: Path, seconds: str, background: str, workers: str) -> tuple[str, int]:
    """One child, from its birth to its end: how it ended, and its number."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setpgid(0, 0)  # a group of its own, with its workers
            output = os.open(folder.with_suffix(".txt"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            train(folder, background=bool(int(background)), workers=int(workers))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    limit = float(seconds)
    end = time.monotonic() + (limit if limit >= 0 else 120)
    ended, status = 0, 0
    while not ended and time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.0005)
    if not ended:
        os.kill(child, SIGKILL)
        os.waitpid(child, 0)
        return "killed", child
    return ("done" if status == 0 else "failed"), child


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        train(Path(sys.argv[1]), background=False, workers=0, linger=0.02)
    else:
        main()

"""A process that has loaded everything and saves checkpoints in children, killed at any moment.

A line ``FOLDER SECONDS`` lets a child save there, one checkpoint after the other, and kills it so
many seconds after its first. The answer is how many it had saved by then, by its own account.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import torch

from lehr.state.disk.checkpoint_folder import CheckpointFolder


def snapshot(step: int) -> dict[str, object]:
    """What the checkpoint of a step holds: all of it tells the step."""
    weight = torch.full((64, 1024), float(step))  # written in a part of its own
    return {"model": {"weight": weight, "bias": torch.full((3,), step)}, "run": {"step": step}}


def save(folder: Path, report: Callable[[int], None]) -> None:
    """Save for ever; each number is reported once its checkpoint has reached the disk."""
    with CheckpointFolder(folder).open("one") as saved:
        step = max((one.step for one in saved.all()), default=-1)
        while True:
            step += 1
            saved.save(snapshot(step), {"step": step, "epoch": 0})
            report(step)
            saved.prune(2, run="one")


def attempt(folder: Path, seconds: float) -> int:
    """One child, from its birth to its end: the last step that it had saved."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            save(folder, lambda step: os.write(writing, step.to_bytes(8, "little")) and None)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read(8)
        time.sleep(seconds)
        os.kill(child, SIGKILL)
        os.waitpid(child, 0)
        said += pipe.read()
    return int.from_bytes(said[-8:], "little")


def main() -> None:
    """Answer every line."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        folder, seconds = line.rsplit(maxsplit=1)  # its path may have spaces
        print(attempt(Path(folder), float(seconds)), flush=True)


if __name__ == "__main__":
    main()

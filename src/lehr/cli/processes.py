"""``lehr train … --processes 2``: the same command in several processes, by torchrun's launcher."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

_PROGRAM = "from lehr.cli import main; main()"


def is_one_of_several() -> bool:
    """Whether this process was started by a launcher, with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(processes: int, words: Sequence[str]) -> int:
    """Start ``lehr`` with these words in so many processes, and wait for them; the exit code.

    A Ctrl-C reaches all of them, and they end in their own way; a SIGTERM is passed on.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    command = [sys.executable, "-c", _PROGRAM, *words]
    started = subprocess.Popen([*launcher, f"--nproc-per-node={processes}", *command])
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(
            signal.SIGTERM, lambda number, _: started.send_signal(number)
        ),
    }
    try:
        return started.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def silent(rank: int) -> Generator[None]:
    """A scope in which only the first process prints."""
    if rank == 0:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield

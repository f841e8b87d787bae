"""``lehr train … --processes 2``: the same command in several processes, by torchrun's launcher."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lehr.engine import Engine

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


def engine_here() -> "Engine":
    """The engine of this process: of all that a launcher has started, or alone."""
    if not is_one_of_several():
        from lehr.engine import ALONE

        return ALONE
    from lehr.distributed import Distributed  # half a second that others need not wait

    return Distributed()


@contextmanager
def among(engine: "Engine", command: str) -> Generator[None]:
    """A scope in which only the first process prints, and an error in one is told to all.

    Args:
        engine: the processes.
        command: which they carry out, for what they say of an error.
    """
    ending: BaseException | None = None
    with silent(engine.rank):
        with engine.telling(command):
            try:
                yield
            except (KeyboardInterrupt, SystemExit) as error:
                ending = error  # no failure: all of them end like this
        if ending is not None:
            raise ending


@contextmanager
def silent(rank: int) -> Generator[None]:
    """A scope in which only the first process prints."""
    if rank == 0:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield

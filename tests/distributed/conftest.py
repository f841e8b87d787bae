"""Worlds of a few processes, from a nursery that loads torch once."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
collect_ignore = ["nursery.py", "jobs.py"]

World = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """``world(2, "name", **arguments)``: how each of two processes ended that called `jobs.name`.

    With ``limit=`` seconds; a process that is still at work then is ``("silent", "")``.
    """
    log = tmp_path_factory.mktemp("world") / "log.txt"
    with log.open("wb") as out:
        nursery = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(processes: int, job: str, *, limit: float = 60.0, **arguments: Any) -> list[Any]:
        pickle.dump((processes, job, arguments, limit), nursery.stdin)
        nursery.stdin.flush()
        try:
            return pickle.load(nursery.stdout)
        except EOFError:
            raise AssertionError(log.read_text()) from None

    yield run
    pickle.dump(None, nursery.stdin)  # a process that some test has forked may hold the pipe open
    nursery.stdin.close()
    nursery.wait(60)
    nursery.stdout.close()


@pytest.fixture(scope="session")
def values(world: World) -> World:
    """As ``world``, for processes that end well: what each of them returned."""

    def run(processes: int, job: str, **arguments: Any) -> list[Any]:
        ended = world(processes, job, **arguments)
        for kind, value in ended:
            if kind != "ok":
                raise AssertionError(f"{kind}: {value}")
        return [value for _, value in ended]

    return run

"""A process that has loaded everything, and makes others that train together.

It answers each request `(world, name, arguments, limit)` by a list with how each of so many new
processes ended: ``("ok", value)``, ``("error", text)``, ``("died", "")`` or ``("silent", "")`` if
it was still at work after ``limit`` seconds. A text ends with the moment of the error, in seconds.
``name`` is a function of `jobs`. The request None ends it. The requests come as pickles on standard
input; the answers go to standard output.
"""

import atexit
import gc
import os
import pickle
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import jobs
import torch
import torch._dynamo  # for the wrappers of models; it takes longer than most jobs
import torch.distributed as dist

import lehr.distributed  # noqa: F401 - loaded once, for all


def main() -> None:
    """Answer every request."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warm()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what tests print goes to the log
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if request is None:
            return
        pickle.dump(together(*request), answers)
        answers.flush()


def warm() -> None:
    """Import what trainings import as they go, so that no process need do it by itself."""
    with tempfile.TemporaryDirectory() as folder:
        jobs.stops_early(folder, 2)
        jobs.goes_on_from(folder)
    gc.collect()
    gc.freeze()  # else every process would copy all of it


def together(world: int, name: str, arguments: dict[str, Any], limit: float) -> list[Any]:
    """Make so many processes, and see how each of them ends.

    They begin when all are there: a process that is forked while the store answers another one may
    hold a lock for ever that a thread of the store had at that moment.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    gate = os.pipe()
    children = [child(rank, world, store.port, name, arguments, gate) for rank in range(world)]
    for end in gate:
        os.close(end)
    until = time.monotonic() + limit
    try:
        return [answer(pid, pipe, until) for pid, pipe in children]
    finally:
        for pid, _ in children:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def child(
    rank: int, world: int, port: int, name: str, arguments: dict[str, Any], gate: tuple[int, int]
) -> Any:
    """A process that calls the function; its number, and where to read what it returns.

    It begins when the gate's other end is closed.
    """
    to_read, to_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(to_write)
        return pid, to_read
    os.close(gate[1])
    os.read(gate[0], 1)
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE="True",
    )
    os.environ.update(arguments.pop("environment", {}))
    try:
        outcome = ("ok", getattr(jobs, name)(**arguments))
    except BaseException as error:
        outcome = ("error", f"{traceback.format_exc()}\nat {time.monotonic()}")
        sys.last_value = error  # as the interpreter does
    with os.fdopen(to_write, "wb") as pipe:
        pickle.dump(outcome, pipe)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(outcome[0] != "ok")


def answer(pid: int, pipe: int, until: float) -> tuple[str, Any]:
    """How a process ended."""
    read = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return "silent", ""
        if not (part := os.read(pipe, 1 << 20)):
            break
        read += part
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > until:
            return "silent", "at its end"
        time.sleep(0.002)
    os.close(pipe)
    return pickle.loads(read) if read else ("died", "")


sys.path.insert(0, str(Path(__file__).parent))
if __name__ == "__main__":
    main()

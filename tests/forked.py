"""Programs in processes of their own that need not import torch: they are forked.

What a new interpreter makes of its surroundings is made again: its three streams, with the encoding
that PYTHONIOENCODING says, or None where one is closed, and Python's own handlers of signals. It
ends with the same code. Where a new interpreter is the subject, take `subprocess`.
"""

import atexit
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

CLOSED = "closed"
"""In the place of a stream: its number stands for nothing."""


class Nursery:
    """The process that the others are forked from; it has imported what most commands need."""

    def __init__(self) -> None:
        self._asks, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(asked.fileno())]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, pass_fds=[asked.fileno()], env=environment)
        asked.close()

    def start(
        self,
        *arguments: str,
        code: str | None = None,
        stdout: Any = -1,
        stderr: Any = -1,
        env: Any = (),
        group: bool = False,
    ) -> "Forked":
        """``lehr arguments`` in this folder, or ``python -c code arguments``.

        Args:
            arguments: what is typed.
            code: a program.
            stdout: a file, its number, `CLOSED`, or -1 for a pipe.
            stderr: likewise.
            env: what is in its environment besides what is here.
            group: make it the leader of a group of processes of its own.
        """
        own, given, kept = [], [], {}
        for name, where in (("stdout", stdout), ("stderr", stderr), ("ends", -1)):
            if where == -1:
                to_read, where = os.pipe()
                kept[name] = os.fdopen(to_read, "rb")
                own.append(where)
            given.append(1 if where == CLOSED else where if type(where) is int else where.fileno())
        request: dict[str, Any] = {"arguments": arguments, "code": code, "group": group}
        request |= {"cwd": os.getcwd(), "env": dict(os.environ) | dict(env)}  # noqa: PTH109
        request["closed"] = [n for n, where in ((1, stdout), (2, stderr)) if where == CLOSED]
        socket.send_fds(self._asks, [json.dumps(request).encode()], given)
        for number in own:
            os.close(number)
        return Forked(**kept)

    def run(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        """As `start`, to its end."""
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.wait(), out, err)

    def end(self) -> None:
        """No more will be asked."""
        self._asks.shutdown(socket.SHUT_RDWR)  # a process forked meanwhile may hold it open
        self._asks.close()
        self._process.wait(60)


class Forked:
    """A process, with as much of `subprocess.Popen` as is needed."""

    def __init__(self, ends: Any, stdout: Any = None, stderr: Any = None) -> None:
        self.stdout, self.stderr, self._ends = stdout, stderr, ends
        self.pid = int(ends.readline())

    def wait(self) -> int:
        """Its exit status; a signal that ended it is a negative number."""
        with self._ends:
            return int(self._ends.read())

    def communicate(self) -> tuple[bytes | None, bytes | None]:
        """What it writes to its pipes, to the end."""
        said = {}

        def read(name: str, pipe: Any) -> None:
            with pipe:
                said[name] = pipe.read()

        pipes = {"stdout": self.stdout, "stderr": self.stderr}
        readers = [threading.Thread(target=read, args=p) for p in pipes.items() if p[1]]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        return said.get("stdout"), said.get("stderr")


def serve(asked: socket.socket) -> dict[str, Any]:
    """Answer requests; returns in each child, with the one that it is to carry out."""
    while True:
        message, given, _, _ = socket.recv_fds(asked, 1 << 20, 3)
        if not message:
            break
        if not os.fork():
            asked.close()
            if mind(given):
                request = json.loads(message)
                become(request, *given)
                return request
        for number in given:
            os.close(number)
        while reap(os.WNOHANG):
            pass
    while reap(0):
        pass
    os._exit(0)


def reap(how: int) -> bool:
    """Wait for one that minds a child."""
    try:
        return os.waitpid(-1, how)[0] > 0
    except ChildProcessError:
        return False


def mind(given: list[int]) -> bool:
    """Fork once more, True in the child; the parent says its number and how it ended."""
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        os.read(ready, 1)
        os.close(ready)
        return True
    os.close(ready)
    os.close(given[0])
    os.close(given[1])
    os.write(given[2], b"%d\n" % child)
    os.close(go)
    _, status = os.waitpid(child, 0)
    os.write(given[2], b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(request: dict[str, Any], stdout: int, stderr: int, ends: int) -> None:
    """Be as a new interpreter would be with this request."""
    os.close(ends)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    encoding = os.environ.get("PYTHONIOENCODING", sys.stdout.encoding)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False
    )
    for number, name in ((1, "stdout"), (2, "stderr")):
        if number in request["closed"]:
            os.close(number)
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if request["group"]:
        os.setsid()
    sys.argv = ["lehr" if request["code"] is None else "-c", *request["arguments"]]


def warm(main: Any) -> None:
    """Import what commands import as they go: by far the most of their time."""
    here, before = Path.cwd(), (sys.stdout, sys.argv)
    training = ["train", "digits", "--model", "linear", "--epochs", "1", "--out", "a"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.stdout = io.StringIO()
        for words in (training, ["evaluate", "a"], ["compare", "a", "a"]):
            sys.argv = ["lehr", *words]
            with suppress(SystemExit):
                main()
        os.chdir(here)
    sys.stdout, sys.argv = before


def carry_out(main: Any, code: str | None) -> None:
    """Run ``main``, or a program as ``__main__``, and end as an interpreter would."""
    try:
        if code is None:
            main()
        else:
            sys.modules["__main__"] = module = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(module))
    except SystemExit as ended:
        end(ended.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        leave()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        end(1)
    end(0)


def leave() -> int:
    """What an interpreter does at its end; 120 if a stream could not be written."""
    threading._shutdown()
    atexit._run_exitfuncs()
    code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            code = 120
    return code


def end(code: Any) -> None:
    """As an interpreter ends, without taking all modules apart, which takes a second."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    os._exit(leave() or code or 0)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    from lehr.cli import main

    channel = socket.socket(fileno=int(sys.argv[1]))
    warm(main)
    gc.collect()
    gc.freeze()  # else every child would copy all of it
    carry_out(main, serve(channel)["code"])

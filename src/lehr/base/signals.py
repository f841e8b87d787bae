"""Ctrl-C, SIGTERM and SIGHUP as requests: the first asks, the second insists."""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from lehr.base.interrupts import forget_postponed, interrupts_wait_at_both_ends, postpone
from lehr.base.notebook import is_interactive
from lehr.errors import add_note

_REASONS: dict[int, str] = {
    signal.SIGINT: "interrupted by Ctrl-C",
    signal.SIGTERM: "asked to end by SIGTERM",
}
if hasattr(signal, "SIGHUP"):  # its terminal is gone; Windows has none
    _REASONS[signal.SIGHUP] = "asked to end by SIGHUP"
_IN_A_CHILD: dict[int, Any] = {
    **dict.fromkeys(_REASONS, signal.SIG_IGN),  # Ctrl-C and SIGHUP go to every process at once
    signal.SIGTERM: signal.SIG_DFL,
}


@interrupts_wait_at_both_ends
@contextmanager
def on_interrupt(ask: Callable[[str], None]) -> Generator[list[int]]:
    """A scope in which the first SIGINT, SIGTERM or SIGHUP calls ``ask``.

    The next of any kind is left to the handler before, which ends the process, or raises
    KeyboardInterrupt; while something is begun or put back (`lehr.base.interrupts`), it waits. What
    is ignored stays ignored, and outside the main thread nothing is installed. A process that is
    forked inside the scope (a loader's worker, say) is ended by SIGTERM, and leaves the others to
    this one.

    Args:
        ask: called with a reason, from the signal handler: it should set a flag and return.

    Yields:
        The signals received so far, as a list that grows.

    Example:
        >>> asked = []
        >>> with on_interrupt(asked.append) as received:
        ...     signal.raise_signal(signal.SIGINT)
        >>> asked, len(received)
        (['interrupted by Ctrl-C'], 1)
    """
    received: list[int] = []

    def is_first(number: int) -> bool:
        received.append(number)
        if len(received) == 1:
            ask(_REASONS[number])
        return len(received) == 1

    with _handling(is_first):
        yield received


@interrupts_wait_at_both_ends
@contextmanager
def patient() -> Generator[None]:
    """A scope in which every such signal is left to the handler before, but waits while something
    is begun or put back (`lehr.base.interrupts`).

    Example:
        >>> with patient():
        ...     pass
    """
    if all(isinstance(signal.getsignal(number), _Handler) for number in _REASONS):
        yield  # it is within another such scope
        return
    with _handling(None):
        yield


class _Handler:
    """What is installed for a scope: handles a signal, or leaves it to the handler before.

    Args:
        handles: whether a signal of that number is handled; None leaves all of them.
    """

    def __init__(self, handles: Callable[[int], bool] | None) -> None:
        self.handles, self.process = handles, os.getpid()
        self.before = {number: signal.getsignal(number) for number in _REASONS}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a child that had no time yet to get its own
            signal.signal(number, _IN_A_CHILD[number])
            signal.raise_signal(number)
        elif self.handles is None or not self.handles(number):
            leave = partial(self.leave, number)
            if not postpone(leave, frame):
                leave(frame)

    def leave(self, number: int, frame: FrameType | None) -> None:
        before: Any = self.before[number]
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            signal.raise_signal(number)


def _handler_behind(number: int) -> Any:
    """The handler of a signal, behind those that leave it to the one before."""
    handler: Any = signal.getsignal(number)
    while isinstance(handler, _Handler) and handler.handles is None:
        handler = handler.before[number]
    return handler


@contextmanager
def _handling(handles: Callable[[int], bool] | None) -> Generator[None]:
    handler = _Handler(handles)
    if not any(isinstance(before, _Handler) for before in handler.before.values()):
        forget_postponed()  # the interrupt that a second one has overtaken, at the very end
    in_main = threading.current_thread() is threading.main_thread()
    kept = (signal.SIG_IGN, None)
    ours = {n: before for n, before in handler.before.items() if in_main and before not in kept}
    try:
        for number in ours:
            signal.signal(number, handler)
        yield
    finally:
        for number, before in reversed(ours.items()):  # Ctrl-C last: it waits until the end
            signal.signal(number, before)


def _in_child() -> None:
    """Give a forked process handlers of its own in the place of ours."""
    for number, action in _IN_A_CHILD.items():
        if isinstance(signal.getsignal(number), _Handler):
            signal.signal(number, action)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@interrupts_wait_at_both_ends
@contextmanager
def interruptible(ask: Callable[[str], None]) -> Generator[None]:
    """`on_interrupt` around work that ends early when asked, and then tells its caller.

    Inside such a scope of another, that one's work is asked to end as well, and its caller is told.
    A SIGTERM or SIGHUP for which the program has a handler of its own is handed on to that one,
    when the work is done and whatever became of it. If the work itself fails, its error is raised;
    a note tells of the signal.

    Raises:
        KeyboardInterrupt: there was a SIGINT, and the program is not at an interactive prompt.
        SystemExit: there was a SIGTERM or SIGHUP, and no handler for it; the exit status is 143 or
            129.

    Example:
        >>> with interruptible(print):
        ...     pass
    """
    received: list[int] = []
    try:
        with on_interrupt(ask) as received:
            yield
    except BaseException as error:
        if received and received[0] != signal.SIGINT:
            add_note(error, f"This process was {_REASONS[received[0]]} before.")
            if _handler_behind(received[0]) != signal.SIG_DFL:
                signal.raise_signal(received[0])
        raise
    if received and isinstance(_handler_behind(received[0]), _Handler):
        signal.raise_signal(received[0])  # the work around this one ends as well, in its own way
    elif received and received[0] != signal.SIGINT:
        if _handler_behind(received[0]) == signal.SIG_DFL:
            raise SystemExit(128 + received[0])
        signal.raise_signal(received[0])
    elif received and not is_interactive():
        raise KeyboardInterrupt(_REASONS[signal.SIGINT])


def interruption(reason: str) -> BaseException | None:
    """What is raised when work that ended for this reason tells its caller; see `interruptible`.

    Example:
        >>> interruption("asked to end by SIGTERM")
        SystemExit(143)
    """
    number = next((n for n, known in _REASONS.items() if known == reason), signal.SIGINT)
    if number != signal.SIGINT:
        return SystemExit(128 + number)
    return None if is_interactive() else KeyboardInterrupt(reason)

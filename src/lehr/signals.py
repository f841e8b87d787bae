"""Ctrl-C as a request: the first asks, the second insists."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from lehr.notebook import is_interactive


@contextmanager
def on_interrupt(ask: Callable[[str], None]) -> Generator[list[int]]:
    """A scope in which the first SIGINT calls ``ask`` and the next is left to the handler before.

    Outside the main thread, or where SIGINT is ignored, nothing is installed.

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
    previous = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or previous in (signal.SIG_IGN, None):
        yield received
        return

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            ask("interrupted by Ctrl-C")
        else:
            signal.signal(signal.SIGINT, previous)
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, handler)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def interruptible(ask: Callable[[str], None]) -> Generator[None]:
    """`on_interrupt` around work that ends early when asked, and then tells its caller.

    Raises:
        KeyboardInterrupt: there was a signal, and nobody waits at a prompt for control to return.

    Example:
        >>> with interruptible(print):
        ...     pass
    """
    with on_interrupt(ask) as received:
        yield
    if received and not is_interactive():
        raise KeyboardInterrupt("interrupted by Ctrl-C")

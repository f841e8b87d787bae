"""Only one thread at a time may use the random generators of the process.

torch, NumPy and Python have one default generator each, for all threads. Two threads that seed it
and draw from it change each other's numbers, so that neither trains as it would alone.
"""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from lehr.base.interrupts import interrupts_wait_at_both_ends

_lock = threading.RLock()
_owner: tuple[int, str] | None = None


@interrupts_wait_at_both_ends
@contextmanager
def owned() -> Generator[None]:
    """A scope in which no other thread gets into such a scope; this one may, within it.

    Raises:
        RuntimeError: another thread is in one. It is not waited for: it might wait for this one.

    Example:
        >>> with owned(), owned():
        ...     pass
    """
    global _owner
    lock, before = _lock, _owner  # a process that is forked inside may get another lock
    if not lock.acquire(blocking=False):
        other = "another thread" if before is None else f"the thread {before[1]!r}"
        raise RuntimeError(
            f"{other} of this process is training or evaluating, so "
            f"{threading.current_thread().name!r} cannot: both would draw from the default random "
            "generators of torch, which belong to the whole process, and change each other's "
            "numbers. Train one after the other, or in processes of their own."
        )
    _owner = (threading.get_ident(), threading.current_thread().name)
    try:
        yield
    finally:
        _owner = before
        lock.release()


def is_mine() -> bool:
    """Whether this thread is in the scope of `owned`.

    Example:
        >>> with owned():
        ...     is_mine()
        True
        >>> is_mine()
        False
    """
    return _owner is not None and _owner[0] == threading.get_ident()


def _in_child() -> None:
    """In a forked process only the thread that forked is left."""
    global _lock, _owner
    if not is_mine():
        _lock, _owner = threading.RLock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

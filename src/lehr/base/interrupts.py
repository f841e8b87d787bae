"""Interrupts wait while something is begun or put back.

A Ctrl-C raises KeyboardInterrupt between any two lines, also in the middle of putting something
back. Some functions must be finished first: a handler that lehr installed (`lehr.base.signals`)
looks at what is at work, and if that is one of them, the interrupt waits until it is over. What
goes on between the beginning and the end of a scope is interrupted as ever.
"""

import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import CodeType, FrameType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_waits: dict[CodeType, bool] = {}  # whether an interrupt in this function waits
_waiting: list[Callable[[FrameType | None], None]] = []  # what is to be done then


def interrupts_wait_at_both_ends(
    make: Callable[P, AbstractContextManager[T]],
) -> Callable[P, AbstractContextManager[T]]:
    """A context manager whose beginning and end are finished before an interrupt is raised.

    It stands above ``@contextmanager``.

    Example:
        >>> from contextlib import contextmanager
        >>> @interrupts_wait_at_both_ends
        ... @contextmanager
        ... def swapped():
        ...     print("swap")
        ...     yield
        ...     print("swap back")
        >>> with swapped():
        ...     print("work")
        swap
        work
        swap back
    """

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return _Scope(make(*args, **kwargs))

    return made


class _Scope(AbstractContextManager[T]):
    def __init__(self, scope: AbstractContextManager[T]) -> None:
        self.scope = scope

    def __enter__(self) -> T:
        value = self.scope.__enter__()
        try:
            _interrupt()
        except BaseException as error:
            self.scope.__exit__(type(error), error, error.__traceback__)
            raise
        return value

    def __exit__(self, *error: Any) -> bool | None:
        try:
            return leave(self.scope, error[1])
        finally:
            _interrupt()


def leave(scope: AbstractContextManager[Any], error: BaseException | None) -> bool | None:
    """Leave a scope that an error ends, or None; what it raises instead does not keep the error.

    A generator that replaces an error would: `contextlib` leaves its frame in the traceback of the
    error, and from Python 3.12 on that frame leads to one that holds the error.

    Example:
        >>> from contextlib import nullcontext
        >>> leave(nullcontext(), None)
    """
    if error is None:
        return scope.__exit__(None, None, None)
    trace = error.__traceback__
    try:
        return scope.__exit__(type(error), error, trace)
    except BaseException as raised:
        if raised is not error:
            error.__traceback__ = trace
        raise
    finally:
        del error, trace  # what is raised may hold this frame


def call_uninterrupted(work: Callable[[], Any]) -> None:
    """Call a function that is finished before an interrupt is raised.

    Example:
        >>> call_uninterrupted(lambda: print("to the end"))
        to the end
    """
    try:
        work()
    finally:
        _interrupt()


def heeds_interrupts(function: Callable[P, T]) -> Callable[P, T]:
    """The function itself, which is interrupted wherever it is called.

    Example:
        >>> heeds_interrupts(print) is print
        True
    """
    if inspect.isfunction(function):
        _waits[function.__code__] = False
    return function


@contextmanager
def interrupts_wait_in(function: Callable[..., Any]) -> Generator[None]:
    """A scope in which a function of another library is finished before an interrupt is raised.

    What it calls that heeds interrupts is interrupted as ever. What has waited is done when this
    scope, or another at whose ends interrupts wait, is left, or where `heed` is called.

    Args:
        function: written in Python.

    Example:
        >>> from torch.overrides import handle_torch_function
        >>> with interrupts_wait_in(handle_torch_function):
        ...     pass
    """
    before = _waits.get(function.__code__)
    _waits[function.__code__] = True
    try:
        yield
    finally:
        del _waits[function.__code__]
        if before is not None:
            _waits[function.__code__] = before


def heed() -> None:
    """Do what has waited, unless the caller has to be finished first.

    Example:
        >>> heed()
    """
    _interrupt()


def postpone(interrupt: Callable[[FrameType | None], None], frame: FrameType | None) -> bool:
    """Keep an interrupt for later, if something is at work that must be finished first.

    Args:
        interrupt: to be called with the frame that is at work then.
        frame: what is at work now, as a signal handler is given it.

    Returns:
        Whether it was kept. If not, the caller is to act.

    Example:
        >>> postpone(print, None)
        False
    """
    if kept := _must_wait(frame):
        _waiting.append(interrupt)
    return kept


def forget_postponed() -> None:
    """Drop the interrupts that are kept for later.

    Example:
        >>> forget_postponed()
    """
    _waiting.clear()


def _must_wait(frame: FrameType | None) -> bool:
    while frame is not None:
        if (waits := _waits.get(frame.f_code)) is not None:
            return waits
        frame = frame.f_back
    return False


def _interrupt() -> None:
    """Do what has waited, as far as nothing else must be finished; the first error is raised."""
    if not _waiting:
        return
    here = inspect.currentframe()
    finished = here and here.f_back
    after, failure = finished and finished.f_back, None
    while _waiting and not _must_wait(after):
        try:
            _waiting.pop(0)(after)
        except BaseException as error:
            failure = failure or error
    try:
        if failure is not None:
            raise failure
    finally:
        del here, finished, after, failure  # they hold this frame, or its traceback does


_waits[_Scope.__enter__.__code__] = True
_waits[_Scope.__exit__.__code__] = True
_waits[call_uninterrupted.__code__] = True

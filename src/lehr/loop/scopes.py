"""Scopes that unwind: what was swapped, hooked or patched is put back, however the scope ended."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from lehr.base.interrupts import call_uninterrupted, interrupts_wait_at_both_ends
from lehr.errors import add_note, one_line


class Scopes:
    """A stack of clean-ups, divided into nested scopes.

    Example:
        >>> scopes = Scopes()
        >>> with scopes.open():
        ...     scopes.defer(lambda: print("first in, last out"))
        ...     scopes.defer(lambda: print("last in, first out"))
        last in, first out
        first in, last out
    """

    __slots__ = ("depth", "undos")

    def __init__(self) -> None:
        self.depth = 0
        self.undos: list[Callable[[], Any]] = []

    def defer(self, undo: Callable[[], Any]) -> None:
        """Call ``undo`` when the innermost open scope ends."""
        if not callable(undo):
            raise TypeError(
                f"defer takes a function without arguments; got {undo!r}. "
                "Pass the function itself, e.g. run.defer(handle.remove)."
            )
        if not self.depth:
            raise RuntimeError(
                "defer was called where no scope is open: nothing would ever call the function. "
                "Call run.defer while the run is under way."
            )
        self.undos.append(undo)

    @interrupts_wait_at_both_ends
    @contextmanager
    def open(self, name: str = "scope") -> Generator[None]:
        """A scope. It swallows no exception, and no interrupt leaves it half unwound.

        Args:
            name: what messages call it.
        """
        mark, depth = len(self.undos), self.depth
        self.depth += 1
        try:
            yield
        finally:
            try:
                self.unwind(mark, name)
            finally:
                self.depth = depth

    def unwind(self, mark: int, name: str = "batch") -> None:
        """Run everything deferred since there were ``mark`` clean-ups, last in first out.

        One that fails does not keep the others from running; the first failure is raised in the
        end, with the error that was under way, if any, as its context. An interrupt waits until all
        have run.

        Args:
            mark: how many clean-ups are to be left.
            name: of what ends, for messages.
        """
        call_uninterrupted(partial(self._unwind, mark, name))

    def _unwind(self, mark: int, name: str) -> None:
        failure: BaseException | None = None
        while len(self.undos) > mark:
            try:
                self.undo(name)
            except BaseException as error:
                if failure is None:
                    failure = error
                else:
                    add_note(failure, f"Another clean-up failed as well: {one_line(error)}.")
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame

    def undo(self, name: str) -> None:
        """Run the clean-up that was deferred last, in a scope of that name."""
        self.undos.pop()()

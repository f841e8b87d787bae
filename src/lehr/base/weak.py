"""Weak references that are copied, and pickled, with what they refer to."""

import weakref
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Weak(Generic[T]):
    """Refers to a thing and does not keep it alive.

    A copy refers to the copy of the thing, where both are copied or pickled together; Python's own
    references cannot be pickled, and their copies refer to the thing itself.

    Args:
        thing: what it refers to; None for nothing.

    Example:
        >>> class Thing: ...
        >>> thing = Thing()
        >>> reference = Weak(thing)
        >>> reference() is thing
        True
        >>> del thing
        >>> reference() is None
        True
    """

    __slots__ = ("_reference",)

    def __init__(self, thing: T | None) -> None:
        self._reference = None if thing is None else weakref.ref(thing)

    def __call__(self) -> T | None:
        """What it refers to; None if that is gone."""
        return None if self._reference is None else self._reference()

    def __getstate__(self) -> tuple[T | None]:
        return (self(),)

    def __setstate__(self, state: tuple[T | None]) -> None:
        self.__init__(*state)

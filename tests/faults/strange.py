"""Exceptions of every kind, ordinary and strange."""

from collections.abc import Callable

from lehr.events import CancelBatch, CancelEpoch, CancelFit


class Silent(Exception):
    """Has no text, and says so by raising."""

    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


class Closed(Exception):
    """Takes no notes."""

    def add_note(self, note):
        raise TypeError("no notes")


class Base(BaseException):
    """No Exception."""


KINDS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: Exception("planted"),
    "Base": lambda: Base("planted"),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("planted"),
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": lambda: GeneratorExit("planted"),
    "StopIteration": lambda: StopIteration("planted"),
    "StopAsyncIteration": lambda: StopAsyncIteration("planted"),
    "CancelBatch": lambda: CancelBatch("planted"),
    "CancelEpoch": lambda: CancelEpoch("planted"),
    "CancelFit": lambda: CancelFit("planted"),
    "Silent": Silent,
    "Closed": lambda: Closed("planted"),
    "MemoryError": lambda: MemoryError("planted"),
    "RecursionError": lambda: RecursionError("planted"),
    "ExceptionGroup": lambda: ExceptionGroup("planted", [ValueError("a"), TypeError("b")]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("planted", [Base("a")]),
}
CANCELS = ("CancelBatch", "CancelEpoch", "CancelFit")

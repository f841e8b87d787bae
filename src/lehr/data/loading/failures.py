"""An error in a worker process: what is sent of it, and how it is raised again."""

import pickle
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import final

from lehr.errors import add_note, one_line

_HERE = str(Path(__file__).parent)


class WorkerError(Exception):
    """The cause of an error that comes from a worker process: its traceback there, as text."""


@final
@dataclass(frozen=True)
class Failure:
    """What a worker process sends in the place of a batch that it could not read.

    Attributes:
        pickled: the error; None if it cannot be sent to another process.
        line: the error in one line.
        place: the user's own line that it comes from; None if there is none.
        text: the traceback; without what comes before the data set, if there is a ``place``.

    Example:
        >>> try:
        ...     [][3]
        ... except IndexError as error:
        ...     failure = Failure.of(error)
        >>> failure.error()
        IndexError('list index out of range')
    """

    pickled: bytes | None
    line: str
    place: str | None
    text: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """What is sent of an error."""
        from lehr.base.tracebacks import own_line

        summary = traceback.TracebackException.from_exception(error)
        frames = list(summary.stack)
        inside = [*frames]
        while inside and inside[0].filename.startswith(_HERE):
            inside.pop(0)
        place = own_line(inside)
        summary.stack = traceback.StackSummary.from_list(inside if place else frames)
        return cls(_pickled(error), one_line(error), place, "".join(summary.format()))

    def error(self) -> Exception:
        """The error, to be raised where the batch is wanted; with a note on where it was raised."""
        error: Exception
        if self.pickled is None:
            error = RuntimeError(f"a worker process could not read a batch: {self.line}")
        else:
            error = pickle.loads(self.pickled)
            if isinstance(error, StopIteration):  # which would end the epoch in silence
                error = RuntimeError("the dataset raised StopIteration while a batch was read")
        error.__cause__ = WorkerError(f"\n{self.text}")
        add_note(error, f"In a worker process{f', at {self.place}' if self.place else ''}.")
        return error


def _pickled(error: Exception) -> bytes | None:
    try:
        sent = pickle.dumps(error)
        return sent if type(pickle.loads(sent)) is type(error) else None
    except Exception:  # whatever its class does
        return None

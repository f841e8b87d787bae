"""Ctrl-C at chosen places: where Python would heed a signal, in the lines of the library.

Python heeds a signal after a call, at the beginning of a function and where a loop jumps back; in
between none can arrive. These are the places here, in our own code and in `contextlib`, which
enters and leaves our scopes.
"""

import contextlib
import dis
import signal
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import lehr

SOURCE = str(Path(lehr.__file__).parent)
HEEDS = ("CALL", "RESUME", "JUMP_BACKWARD")


class Place(NamedTuple):
    """An instruction before which a signal is heeded, when it is reached for the n-th time."""

    code: CodeType
    offset: int
    nth: int = 1

    @property
    def line(self) -> str:
        lines = (line for start, end, line in self.code.co_lines() if start <= self.offset < end)
        file = self.code.co_filename
        name = file.removeprefix(f"{SOURCE}/") if file.startswith(SOURCE) else Path(file).name
        return f"{name}:{next(lines, None)}"


@cache
def heeding(code: CodeType) -> frozenset[int]:
    """The offsets of instructions before which a signal may have been heeded."""
    found: set[int] = set()
    before: dis.Instruction | None = None
    for now in dis.get_instructions(code):
        if before is not None and before.opname.startswith(HEEDS):
            found.add(before.argval if before.opname == "JUMP_BACKWARD" else now.offset)
        before = now
    return frozenset(found)


@cache
def is_ours(filename: str) -> bool:
    return filename.startswith(SOURCE) or filename == contextlib.__file__


class Survey:
    """A scope in which every place is counted."""

    def __init__(self) -> None:
        self.reached: Counter[tuple[CodeType, int]] = Counter()
        self.last: dict[tuple[CodeType, int], int] = {}
        self.seen = 0

    def __enter__(self) -> "Survey":
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not is_ours(frame.f_code.co_filename):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._instruction

    def _instruction(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode" and frame.f_lasti in heeding(frame.f_code):
            self.seen += 1
            self.reached[frame.f_code, frame.f_lasti] += 1
            self.last[frame.f_code, frame.f_lasti] = self.seen
        return self._instruction

    def places(self) -> list[Place]:
        """Each place when it is reached first and when it is reached last."""
        found: list[Place] = []
        for (code, offset), times in self.reached.items():
            found += [Place(code, offset, nth) for nth in sorted({1, times})]
        return found

    def first_and_last(self) -> list[Place]:
        """Of each line, the place where it is reached first, and the one where it is left last."""
        first: dict[str, Place] = {}
        last: dict[str, tuple[int, Place]] = {}
        for (code, offset), times in self.reached.items():
            place, when = Place(code, offset), self.last[code, offset]
            first.setdefault(place.line, place)
            if when > last.get(place.line, (0, place))[0]:
                last[place.line] = when, Place(code, offset, times)
        return list(dict.fromkeys([*first.values(), *(place for _, place in last.values())]))


class Press:
    """A scope in which Ctrl-C is pressed at a place, and perhaps once more some places later.

    Args:
        place: where.
        later: so many places after that it is pressed again; None: it is not.

    Attributes:
        presses: how often it was pressed.
    """

    def __init__(self, place: Place, later: int | None = None) -> None:
        self.place, self.later = place, later
        self.presses = self.reached = self.since = 0

    def __enter__(self) -> "Press":
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code is not self.place.code:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._aim

    def _aim(self, frame: FrameType, event: str, arg: Any) -> Any:
        if self.presses or event != "opcode" or frame.f_lasti != self.place.offset:
            return self._aim
        self.reached += 1
        if self.reached == self.place.nth:
            self.presses += 1
            if self.later is None:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
                return None
            sys.setprofile(self._follow)  # what is raised in the next line ends the tracing
            signal.raise_signal(signal.SIGINT)
            sys.setprofile(None)
            self._trace_all(frame)
        return self._aim

    def _follow(self, frame: FrameType, event: str, arg: Any) -> None:
        if frame.f_code.co_filename != __file__ and sys.gettrace() is None:
            sys.setprofile(None)
            self._trace_all(frame)

    def _trace_all(self, frame: FrameType | None) -> None:
        sys.settrace(self._every_call)
        while frame is not None:
            if self._every_call(frame):
                frame.f_trace = self._count
            frame = frame.f_back

    def _every_call(self, frame: FrameType, event: str = "", arg: Any = None) -> Any:
        if not is_ours(frame.f_code.co_filename):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._count

    def _count(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode" and frame.f_lasti in heeding(frame.f_code) and self.presses == 1:
            if self.since == self.later:
                self.presses += 1
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
                return None
            self.since += 1
        return self._count

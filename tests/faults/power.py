"""What a disk may hold after a power cut, by what was asked of it until then.

What a file holds is safe once the file was synced; which names a folder has, once the folder was.
Anything later may be there, or not, or in part, whatever else is.
"""

import os
import random
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

Event = tuple[Any, ...]
_RECORDERS: list["Recorder"] = []


class Recorder:
    """Writes down what is asked of the disk below a folder.

    Attributes:
        events: ``(what, path, …)``; ``("done", value)`` where the test says that something is safe.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder.absolute(), list[Event]()

    def done(self, value: Any) -> None:
        self.events.append(("done", value))

    def hear(self, event: str, args: Any) -> None:
        if event == "open" and isinstance(args[0], (str, os.PathLike)):
            if args[2] & os.O_CREAT and not Path(args[0]).exists():
                self._note("create", args[0])
        elif event == "os.rename":
            self._note("rename", args[0], self._inside(args[1]))
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            self._note(event.removeprefix("os."), args[0])

    def _inside(self, path: Any) -> str | None:
        full = Path(os.fsdecode(path)).absolute()
        return str(full.relative_to(self.folder)) if full.is_relative_to(self.folder) else None

    def _note(self, what: str, path: Any, *more: Any) -> None:
        if (inside := self._inside(path)) is not None:
            self.events.append((what, inside, *more))

    def note_open(self, what: str, descriptor: int, *more: Any) -> None:
        self._note(what, Path(f"/proc/self/fd/{descriptor}").readlink(), *more)


def _hear(event: str, args: Any) -> None:
    for recorder in _RECORDERS:
        recorder.hear(event, args)


@cache
def _listen() -> None:
    sys.addaudithook(_hear)  # it cannot be taken off


@contextmanager
def recorded(folder: Path) -> Generator[Recorder]:
    """A scope in which everything that is asked of the disk below a folder is written down."""
    recorder, write, sync = Recorder(folder), os.write, os.fsync

    def written(descriptor: int, data: Any) -> int:
        recorder.note_open("write", descriptor, bytes(data))
        return write(descriptor, data)

    def synced(descriptor: int) -> None:
        recorder.note_open("fsync", descriptor)
        sync(descriptor)

    _listen()
    _RECORDERS.append(recorder)
    os.write, os.fsync = written, synced
    try:
        yield recorder
    finally:
        os.write, os.fsync = write, sync
        _RECORDERS.remove(recorder)


@dataclass
class File:
    """A file as programs see it, and what of it is safe."""

    data: bytes = b""
    safe: bytes = b""

    def after_a_cut(self, draw: random.Random) -> bytes:
        if self.data == self.safe:
            return self.data
        part = self.data[: draw.randrange(len(self.data) + 1)]
        return draw.choice([self.safe, part, bytes(len(self.data)), self.data])


@dataclass
class Folder:
    """A folder as programs see it, and which names in it are safe."""

    names: dict[str, Any] = field(default_factory=dict)
    safe: dict[str, Any] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)

    def change(self, **changes: Any) -> None:
        """Names that come, or that go (None), all at once."""
        _apply(self.names, changes)
        self.waiting.append(changes)

    def put(self, place: Path, draw: random.Random) -> None:
        """Make what may be there after a cut."""
        place.mkdir()
        names = dict(self.safe)
        for changes in self.waiting:
            if draw.random() < 0.5:
                _apply(names, changes)
        for name, node in names.items():
            if isinstance(node, Folder):
                node.put(place / name, draw)
            else:
                (place / name).write_bytes(node.after_a_cut(draw))


def _apply(names: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """A disk to which events happen."""

    def __init__(self) -> None:
        self.root = Folder()

    def _find(self, path: str) -> Any:
        node: Any = self.root
        for name in Path(path).parts:
            node = node.names[name]
        return node

    def happen(self, event: Event) -> None:
        what, path, *more = event
        if what == "write":
            self._find(path).data += more[0]
        elif what == "fsync":
            node = self._find(path)
            if isinstance(node, File):
                node.safe = node.data
            else:
                node.safe, node.waiting = dict(node.names), []
        elif what != "done":
            above, name = self._find(str(Path(path).parent)), Path(path).name
            if what == "rename":
                assert Path(path).parent == Path(more[0]).parent
                above.change(**{name: None, Path(more[0]).name: above.names[name]})
            else:
                new = {"create": File, "mkdir": Folder}.get(what)
                above.change(**{name: new and new()})

    def cut(self, place: Path, draw: random.Random) -> None:
        """Put into a new folder what the disk may hold if the power fails now."""
        self.root.put(place, draw)

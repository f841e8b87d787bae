"""A folder of checkpoints: a new one is there whole or not at all, whatever ends the process.

A checkpoint is written into a hidden folder beside the others and gets its name when all of it has
reached the disk. That renaming is the only commit; a folder that has a name is never written into.
An interrupt leaves no hidden folder; what a killed process left is swept when the folder is opened.
"""

import contextlib
import errno
import math
import os
import re
import secrets
import shutil
import weakref
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Self

from torch.nn.parameter import is_lazy

from lehr.base import files
from lehr.base.interrupts import call_uninterrupted, interrupts_wait_at_both_ends
from lehr.base.nested import tensors_in
from lehr.base.paths import path_of
from lehr.base.signals import patient
from lehr.engine import ALONE, Engine
from lehr.errors import add_note, positive_int
from lehr.state.disk import checkpoint
from lehr.state.disk.checkpoint import Checkpoint, DamagedCheckpoint

_NAME = re.compile(r"step-[0-9]{8,}(-[0-9]+)?")
_STAGING, _PRUNED, _LOCK = ".staging-", ".pruned-", ".lock"


@dataclass(frozen=True)
class Saved:
    """A committed checkpoint and what its manifest says; its tensors have not been looked at."""

    path: Path
    manifest: dict[str, Any]

    @property
    def serial(self) -> int:
        """Its number in the folder: the highest is the newest."""
        return self.manifest["serial"]

    @property
    def run(self) -> str:
        """The run that wrote it."""
        return self.manifest["run"]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.manifest["step"]

    @property
    def epoch(self) -> int:
        """The epoch that it was written in."""
        return self.manifest["epoch"]

    @property
    def value(self) -> float | None:
        """What `best` compares; None if nothing was given."""
        return self.manifest.get("value")


def best(saved: Iterable[Saved], mode: Literal["min", "max"]) -> Saved | None:
    """The one with the best value, the first of several; None if none has a value.

    A value that is nan is no value.

    Raises:
        ValueError: ``mode`` is another word.

    Example:
        >>> one, two = (Saved(Path("a"), {"value": v}) for v in (0.3, 0.2))
        >>> best([one, two], "min") is two
        True
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max'; got {mode!r}.")
    valued = [(one.value, one) for one in saved if isinstance(one.value, (int, float))]
    real = [pair for pair in valued if not math.isnan(pair[0])]
    choose = min if mode == "min" else max
    return choose(real, key=lambda pair: pair[0])[1] if real else None


class CheckpointFolder:
    """A folder in which checkpoints are saved, found and pruned.

    Reading (`all`, `newest`, `nearest`) needs nothing; to write, `open` it first. One thread at a
    time.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as path, CheckpointFolder(path).open("a") as folder:
        ...     for step in (10, 20):
        ...         saved = folder.save({"run": {"step": step}}, {"step": step, "epoch": 0})
        ...     newest, problems = folder.newest()
        >>> saved.path.name, newest.snapshot, problems
        ('step-00000020', {'run': {'step': 20}}, [])
    """

    _lock: FileIO | None = None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of(path)
        self._run = ""
        self._serial = 0
        self._room_checked = False

    def open(self, run: str) -> Self:
        """Make the folder if need be, keep other writers out, and sweep what a killed one left.

        Args:
            run: the name under which this run's checkpoints are written, and pruned.

        Raises:
            RuntimeError: another process or object writes there.
            NotADirectoryError: there is a file of that name.
            OSError: the folder cannot be made or swept.
        """
        if self._lock is not None:
            raise RuntimeError(f"checkpoints in {self.path} are being written already. Close it.")
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(
                f"checkpoints are written to a folder; {self.path} is a file. Give another path, "
                "of a folder or of nothing that is there yet."
            )
        files.make_folder(self.path)
        try:
            self._lock = files.lock_file(self.path / _LOCK)
        except BlockingIOError:
            raise RuntimeError(
                f"another run writes its checkpoints to {self.path}; two would mix them up. "
                "Wait for it, end it, or give another folder."
            ) from None
        _writing.add(self)
        try:
            self._sweep()
            self._run, self._room_checked = run, False
            self._serial = max((one.serial for one in self.all()), default=0)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let others write there."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def save(self, snapshot: Mapping[str, Any], info: Mapping[str, Any]) -> Saved:
        """Write one more checkpoint; when this returns it has reached the disk.

        Args:
            snapshot: what `lehr.state.snapshot.capture` returned.
            info: ``step``, ``epoch`` and whatever else the manifest shall say; ``value`` is what
                `best` compares.

        Raises:
            OSError: of the class and number of what the disk said; the older checkpoints are as
                they were, and the message names the newest.
            RuntimeError: the folder is not open.
            TypeError, ValueError: something cannot be written.
        """
        self._must_be_open()
        self._serial += 1
        path: Path | None = None
        try:
            with self._staging() as staging:
                self._check_room(sum(t.nbytes for t in tensors_in(snapshot) if not is_lazy(t)))
                manifest = checkpoint.write(staging, snapshot, self._about(info))
                path = self._free_name(manifest["step"])
                call_uninterrupted(partial(self._commit, staging, path))
        except BaseException as error:
            if path is not None and path.exists():  # an interrupt has waited until it was there
                raise
            story, left = self.story(info)
            if isinstance(error, OSError) and error.errno:
                raise OSError(error.errno, f"{story}: {error.strerror}. {left}") from error
            add_note(error, f"{story}. {left}")
            raise
        return Saved(path, manifest)

    def stage(self, nbytes: int) -> Path:
        """A hidden folder, made now, for a checkpoint that several processes write.

        Args:
            nbytes: of all its tensors.

        Raises:
            OSError: it cannot be made, or there is no room for two such checkpoints.
            RuntimeError: the folder is not open.
        """
        self._must_be_open()
        self._serial += 1
        self._check_room(nbytes)
        staging = self.path / f"{_STAGING}{secrets.token_hex(8)}"
        files.new_folder(staging)
        return staging

    def commit(self, staging: Path, vouched: Mapping[str, Any], info: Mapping[str, Any]) -> Saved:
        """Make what several processes have written a checkpoint.

        Args:
            staging: what `stage` made.
            vouched: what `lehr.state.disk.checkpoint.write_part` returned in all of them, joined.
            info: as for `save`.

        Raises:
            OSError: the disk refuses.
            TypeError, ValueError: something in ``info`` cannot be written.
        """
        manifest = checkpoint.seal(staging, vouched, self._about(info))
        path = self._free_name(manifest["step"])
        call_uninterrupted(partial(self._commit, staging, path))
        return Saved(path, manifest)

    def _about(self, info: Mapping[str, Any]) -> dict[str, Any]:
        return {"run": self._run, **info, "serial": self._serial}

    def all(self) -> list[Saved]:
        """The committed checkpoints that have a readable manifest, the oldest first."""
        return self._listed()[0]

    def newest(
        self, *, accept: Callable[[Saved], bool] = lambda saved: True, engine: Engine = ALONE
    ) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that holds what its manifest vouches for.

        Args:
            accept: whether one is wanted at all; those that are not are passed over.
            engine: the processes that read it together, as `lehr.state.disk.checkpoint.read` does.

        Returns:
            The checkpoint, or None if there is none; and what is wrong with those that were skipped
            and with those whose manifest cannot be read, a sentence or two for each.
        """
        saved, problems = self._listed()
        for one in reversed(saved):
            if accept(one):
                try:
                    return checkpoint.read(one.path, engine), problems
                except DamagedCheckpoint as error:
                    problems.append(str(error))
                except OSError as error:
                    problems.append(f"{one.path} cannot be read: {error}")
        return None, problems

    def nearest(
        self, run: str, step: int, rewinds: Sequence[tuple[int, int]], engine: Engine = ALONE
    ) -> Checkpoint | None:
        """The last good checkpoint that a run went through before it made an optimizer step.

        Args:
            run: the run's id.
            step: number of the step, from 0.
            rewinds: each time that the run went back: the step that it left, and that it went to.
                What was saved in between is no part of its past any more.
            engine: as for `newest`.
        """

        def accept(saved: Saved) -> bool:
            return _is_past(saved, run, step, rewinds)

        return self.newest(accept=accept, engine=engine)[0]

    def past(self, run: str, step: int, rewinds: Sequence[tuple[int, int]]) -> list[Saved]:
        """Those among which `nearest` looks, by their manifests alone; the oldest first."""
        return [saved for saved in self.all() if _is_past(saved, run, step, rewinds)]

    def prune(self, keep: int, *, run: str, protect: Collection[Path] = ()) -> list[Path]:
        """Delete a run's older checkpoints.

        The run's first stays as well: every past step can be replayed from it. Checkpoints of other
        runs, and those that cannot be read, are left alone.

        Args:
            keep: how many of the newest stay, at least 2: were the newest damaged, the one before
                would be needed.
            run: whose.
            protect: these stay too.

        Returns:
            The paths that are gone.

        Raises:
            ValueError: ``keep`` is less than 2.
            RuntimeError: the folder is not open.
            OSError: something cannot be deleted; the next `open` tries again.
        """
        keep = positive_int("keep", keep, least=2, example=3)
        self._must_be_open()
        mine = [one for one in self.all() if one.run == run]
        kept = {path.resolve() for path in protect}
        gone = [one.path for one in mine[1:-keep] if one.path.resolve() not in kept]
        if gone:
            with patient():
                call_uninterrupted(partial(self._delete, gone))
        return gone

    def _delete(self, paths: Sequence[Path]) -> None:
        hidden = [self.path / f"{_PRUNED}{secrets.token_hex(8)}" for _ in paths]
        for path, other in zip(paths, hidden, strict=True):
            files.rename(path, other)
        files.sync_folder(self.path)  # before anything of them is deleted
        for path in hidden:
            files.remove(path)

    def _must_be_open(self) -> None:
        if self._lock is None:
            raise RuntimeError(
                f"{self.path} is not open for writing, at least not in this process. "
                "Call open(run) first."
            )

    def _sweep(self) -> None:
        for path in sorted(self.path.iterdir()):
            if path.name.startswith((_STAGING, _PRUNED)):
                files.remove(path)

    def _listed(self) -> tuple[list[Saved], list[str]]:
        checkpoints: list[Saved] = []
        problems: list[str] = []
        paths = sorted(self.path.iterdir()) if self.path.is_dir() else []
        for path in paths:
            if not _NAME.fullmatch(path.name):
                continue
            try:
                if path.is_symlink():
                    raise DamagedCheckpoint(f"{path} cannot be used: it is a link.")
                checkpoints.append(Saved(path, checkpoint.read_manifest(path)))
            except DamagedCheckpoint as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{path} cannot be read: {error}")
        return sorted(checkpoints, key=lambda one: one.serial), problems

    def _check_room(self, nbytes: int) -> None:
        """Whether two checkpoints fit, asked once: at the first save, not after a night."""
        if self._room_checked:
            return
        needed, free = 2 * nbytes, shutil.disk_usage(self.path).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"two checkpoints take {needed:,} bytes, and {free:,} are free. Make room, or "
                "give a folder on another disk",
            )
        self._room_checked = True

    def _free_name(self, step: int) -> Path:
        name, number = f"step-{step:08d}", 2
        path = self.path / name
        while os.path.lexists(path):
            path, number = self.path / f"{name}-{number}", number + 1
        return path

    @interrupts_wait_at_both_ends
    @contextlib.contextmanager
    def _staging(self) -> Generator[Path]:
        """A hidden name to write to; what has it if the scope fails is deleted."""
        with patient():
            staging = self.path / f"{_STAGING}{secrets.token_hex(8)}"
            try:
                yield staging
            except BaseException:
                with contextlib.suppress(OSError):  # the next `open` tries again
                    files.remove(staging)
                raise

    def _commit(self, staging: Path, path: Path) -> None:
        files.rename(staging, path)
        try:
            files.sync_folder(self.path)
        except BaseException:
            files.rename(path, staging)  # it is not certain that it would survive
            raise

    def story(self, info: Mapping[str, Any]) -> tuple[str, str]:
        """What could not be done, and what is there to go on from."""
        saved: list[Saved] = []
        with contextlib.suppress(OSError):  # of a disk that is gone altogether
            saved = self.all()
        left = f"The newest one there is {saved[-1].path.name}" if saved else "There is none there"
        return f"the checkpoint of step {info.get('step')} could not be saved in {self.path}", (
            f"{left}; it is as it was." if saved else f"{left} yet."
        )


def _is_past(saved: Saved, run: str, step: int, rewinds: Sequence[tuple[int, int]]) -> bool:
    """Whether a run went through it before it made a step, and has not gone back behind it."""
    later = rewinds[saved.manifest["rewinds"] :]
    in_its_past = all(saved.step <= to for _, to in later)
    return saved.run == run and saved.step <= step and in_its_past


_writing: weakref.WeakSet[CheckpointFolder] = weakref.WeakSet()


def _leave() -> None:
    """In a forked process: only the one that opened a folder writes there; its death frees it."""
    for folder in _writing:
        folder.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)

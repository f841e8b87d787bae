"""A checkpoint that several processes write together: each its own shards, one of them the rest."""

import contextlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from lehr.base import files
from lehr.base.signals import patient
from lehr.engine import Engine
from lehr.errors import RemoteRankError, add_note, one_line
from lehr.state.disk import checkpoint, plain
from lehr.state.disk.checkpoint_folder import CheckpointFolder, Saved
from lehr.state.pieces import Shard


def save_together(
    folder: CheckpointFolder, snapshot: Mapping[str, Any], info: Mapping[str, Any], engine: Engine
) -> Saved:
    """Write one more checkpoint; when this returns it has reached the disk, in all processes.

    All of them must call this. The first one makes a hidden folder, into which each writes its
    parts; when all have said that theirs have reached the disk, the first one writes the manifest
    and renames the folder. If one fails, all do, and the older checkpoints are as they were. Where
    nothing is in shards, the first one saves as `CheckpointFolder.save` does.

    Args:
        folder: in the first process, it is open.
        snapshot: what `lehr.engine.Engine.own` returned.
        info: as for `CheckpointFolder.save`.
        engine: the processes.

    Raises:
        OSError, TypeError, ValueError: what this process could not do.
        RemoteRankError: what another one could not; it names the rank.
        RuntimeError: the processes have different shards, or the folder is not open.

    Example:
        >>> import tempfile, torch
        >>> from lehr.engine import ALONE
        >>> with tempfile.TemporaryDirectory() as path, CheckpointFolder(path).open("a") as folder:
        ...     snapshot = {"model": {"bias": torch.zeros(2)}}
        ...     save_together(folder, snapshot, {"step": 10, "epoch": 0}, ALONE).step
        10
    """
    with patient():
        flat: list[tuple[Any, dict[str, Any]]] = []
        first = engine.rank == 0

        def flatten() -> tuple[int, int]:
            flat.append(plain.flatten(dict(snapshot)))
            tensors = flat[0][1].items()
            cuts = [(name, x.shape, x.dim) for name, x in tensors if isinstance(x, Shard)]
            nbytes = sum(x.nbytes for _, x in tensors if first or isinstance(x, Shard))
            return zlib.crc32(repr(cuts).encode()) if cuts else 0, nbytes

        try:
            made = _agreed(engine, flatten)
            if len({cuts for cuts, _ in made}) > 1:
                raise RuntimeError(
                    "the processes have different shards, so they cannot save them together. Does "
                    "a callback keep tensors of the model in some of them only?"
                )
            if made[0][0]:
                nbytes = sum(nbytes for _, nbytes in made)
                return _save_parts(folder, flat[0], snapshot, info, engine, nbytes)
        except _FailedTogether as failed:
            raise _with_story(failed.error, *folder.story(info)) from failed.error
        try:
            return _agreed(engine, lambda: folder.save(snapshot, info) if first else None)[0]
        except _FailedTogether as failed:  # the first one has told the story
            raise failed.error from None


def _save_parts(
    folder: CheckpointFolder,
    flat: tuple[Any, dict[str, Any]],
    snapshot: Mapping[str, Any],
    info: Mapping[str, Any],
    engine: Engine,
    nbytes: int,
) -> Saved:
    first, own = engine.rank == 0, checkpoint.own_names(snapshot)
    name = _agreed(engine, lambda: folder.stage(nbytes).name if first else None)[0]
    staging = folder.path / name
    try:
        written = _agreed(
            engine,
            lambda: checkpoint.write_part(staging, flat, own, engine.rank, engine.world),
        )
        vouched = {name: said for part in written for name, said in part.items()}
        return _agreed(engine, lambda: folder.commit(staging, vouched, info) if first else None)[0]
    except _FailedTogether:
        if first:  # if one is lost instead, others may still write there: the next `open` sweeps
            with contextlib.suppress(OSError):
                files.remove(staging)
        raise


class _FailedTogether(Exception):  # noqa: N818  (what is raised in its place is the error)
    """One process has failed, all know it, and none of them is at work any more."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _agreed(engine: Engine, act: Callable[[], Any]) -> list[Any]:
    """What ``act()`` returns in each process; if it raises in one, all of them raise."""
    result, error = None, None
    try:
        result = act()
    except Exception as problem:
        error = problem
    said = engine.gather((result, None if error is None else one_line(error)))
    if error is not None:
        raise _FailedTogether(error)
    failed = [f"rank {rank} failed: {text}" for rank, (_, text) in enumerate(said) if text]
    if failed:
        raise _FailedTogether(RemoteRankError(f"{failed[0]}"))
    return [result for result, _ in said]


def _with_story(error: Exception, story: str, left: str) -> Exception:
    """The error that says which checkpoint could not be saved, and what is there to go on from."""
    if isinstance(error, RemoteRankError):
        return RemoteRankError(f"{story}: {error}. {left}")
    if isinstance(error, OSError) and error.errno:
        return OSError(error.errno, f"{story}: {error.strerror}. {left}")
    add_note(error, f"{story}. {left}")
    return error

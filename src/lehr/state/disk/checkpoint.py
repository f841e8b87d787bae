"""One checkpoint is one folder: two files of tensors, one of text, and a manifest that vouches.

``model.safetensors`` holds the model's tensors under their own names, for any tool;
``state.safetensors`` all others; ``state.json`` says where each belongs; ``manifest.json``, written
last, says what the checkpoint is and how large each file is, with a checksum. Nothing here is
pickle: reading runs no code. Several processes may write one together, each its own parts of the
tensors: see `lehr.state.disk.shards`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor

from lehr.base import files, strict_json
from lehr.engine import ALONE, Engine
from lehr.state.disk import plain, shards, tensor_file
from lehr.state.disk.manifest_text import PARTED, VERSION, text_of, understood
from lehr.state.disk.vouched import (
    FILES,
    MANIFEST,
    MODEL,
    STATE,
    STRUCTURE,
    TEXTS,
    check_size,
    checked,
    content_of,
    look_through,
    telling,
    vouch,
)
from lehr.state.pieces import Shard
from lehr.types import is_mapping

T = TypeVar("T")


class DamagedCheckpoint(ValueError):  # noqa: N818  (it is the checkpoint that is in error)
    """A checkpoint does not hold what its manifest vouches for; the message says which and why."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read: the folder, the snapshot in it, and its manifest."""

    path: Path
    snapshot: dict[str, Any]
    manifest: dict[str, Any]


def write(folder: Path, snapshot: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Write a snapshot into a folder that is made for it; all of it has reached the disk then.

    The folder's own name has not: see `lehr.base.files.sync_folder`.

    Args:
        folder: must not exist.
        snapshot: what `lehr.state.snapshot.capture` returned.
        info: for the manifest: ``run`` (str), ``serial``, ``step`` and ``epoch`` (ints),
            and whatever else is numbers and strings.

    Returns:
        The manifest, as `read_manifest` will return it.

    Raises:
        TypeError, ValueError: something cannot be written; nothing has been then.
        OSError: the disk refuses; what was written is left for the caller to remove.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = Path(parent, "first")
        ...     info = {"run": "a", "serial": 1, "step": 9, "epoch": 0}
        ...     _ = write(folder, {"model": {"bias": torch.zeros(2)}}, info)
        ...     checkpoint = read(folder)
        >>> checkpoint.snapshot, checkpoint.manifest["step"]
        ({'model': {'bias': tensor([0., 0.])}}, 9)
    """
    contents, manifest = _encoded(snapshot, info)
    files.new_folder(folder)
    files.write_files(folder, {**contents, MANIFEST: [manifest]})
    files.sync_folder(folder)
    return understood(manifest)


def write_part(
    folder: Path, flat: tuple[Any, Mapping[str, Any]], own: list[str], part: int, parts: int
) -> dict[str, Any]:
    """Write what one of several processes has of a snapshot into a folder that is there.

    Args:
        folder: the same for all.
        flat: what `lehr.state.disk.plain.flatten` made of the snapshot.
        own: what `own_names` says of it.
        part: number of the process.
        parts: how many there are.

    Returns:
        What the manifest has to say of its files: see `seal`.

    Raises:
        ValueError: something is too large.
        OSError: the disk refuses.
    """
    structure, tensors = flat
    contents = shards.contents(tensors, own, part, parts)
    if part == 0:
        contents |= {STRUCTURE: [strict_json.dump(structure)]}
        contents |= {shards.INDEX: [shards.index(tensors)]}
        for name in TEXTS:
            check_size(name, len(contents[name][0]))
    files.write_files(folder, contents)
    files.sync_folder(folder)
    return {name: vouch(those) for name, those in contents.items()}


def seal(folder: Path, vouched: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a checkpoint whose files several processes have written.

    Args:
        folder: with the files.
        vouched: what `write_part` returned in all processes, joined.
        info: as for `write`.

    Returns:
        The manifest, as `read_manifest` will return it.

    Raises:
        TypeError, ValueError: something in ``info`` cannot be written.
        OSError: the disk refuses.
    """
    manifest = text_of(info, vouched, PARTED)
    files.write_files(folder, {MANIFEST: [manifest]})
    files.sync_folder(folder)
    return understood(manifest)


def read(folder: Path, engine: Engine = ALONE) -> Checkpoint:
    """The checkpoint in a folder, after everything about it was verified.

    Of one that several processes wrote, tensors in parts are `lehr.state.pieces.Pieces` in the
    snapshot, to be read as long as the folder is there.

    Args:
        folder: of the checkpoint.
        engine: the processes that read it together: each verifies its share of the files that
            several processes wrote. All of them must call this.

    Raises:
        DamagedCheckpoint: it is not what its manifest vouches for, or of a later format.
        OSError: the disk refuses.

    Example:
        >>> read(Path("absent"))
        Traceback (most recent call last):
            ...
        lehr.state.disk.checkpoint.DamagedCheckpoint: absent cannot be used: manifest.json is ...
    """
    try:
        manifest = understood(content_of(folder, MANIFEST))
        names = {path.name for path in folder.iterdir()}
        if foreign := sorted(names - {*manifest["files"], MANIFEST}):
            raise ValueError(f"{foreign[0][:80]!r} does not belong there")
        if manifest["version"] == PARTED:
            return Checkpoint(folder, _parted(folder, manifest["files"], engine), manifest)
        contents = {name: checked(folder, name, manifest["files"][name]) for name in FILES}
        structure = telling(STRUCTURE, _nested, contents.pop(STRUCTURE))
        own = telling(MODEL, tensor_file.decode, contents.pop(MODEL))
        tensors = telling(STATE, tensor_file.decode, contents.pop(STATE))
        named = {f"model.{name}": tensor for name, tensor in own.items()}
        if twins := sorted(named.keys() & tensors.keys()):
            raise ValueError(f"{MODEL} and {STATE} both hold {twins[0][:80]!r}")
        snapshot = _snapshot(structure, {**tensors, **named})
    except ValueError as error:
        raise _damaged(folder, error) from error
    return Checkpoint(folder, snapshot, manifest)


def _snapshot(structure: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    snapshot = plain.unflatten(structure, tensors)
    if not is_mapping(snapshot) or any(type(name) is not str for name in snapshot):
        raise ValueError(f"{STRUCTURE} holds no entries by name")
    return dict(snapshot)


def _parted(folder: Path, vouched: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """The snapshot of a checkpoint that several processes wrote."""
    structure, tensors = _together(engine, folder, lambda: _opened(folder, vouched, engine))
    return _snapshot(structure, tensors.all())


def _together(engine: Engine, folder: Path, act: Callable[[], T]) -> T:
    """What ``act()`` gives; where it finds damage in one process, it does in all of them."""
    result, problem = None, None
    try:
        result = act()
    except (ValueError, OSError) as error:
        problem = str(error)
    all_said = engine.gather((str(folder), problem))
    if any(said[:1] != (str(folder),) for said in all_said):
        raise ValueError(f"the processes read other checkpoints: {all_said}")
    if problem := next((problem for _, problem in all_said if problem is not None), None):
        raise ValueError(problem)
    return cast("T", result)


def _opened(
    folder: Path, vouched: Mapping[str, Any], engine: Engine
) -> tuple[Any, shards.PartedTensors]:
    """The structure and the tensors; of their files, this process has verified its share."""
    texts = {name: checked(folder, name, vouched[name]) for name in TEXTS}
    structure = telling(STRUCTURE, _nested, texts[STRUCTURE])
    names = shards.file_names((len(vouched) - len(TEXTS)) // 2)
    tensors = _parted_tensors(folder, texts[shards.INDEX], len(names) // 2)
    for name in names[engine.rank :: engine.world]:
        look_through(folder, name, vouched[name])
        telling(name, tensors.check, name)
    return structure, tensors


def _parted_tensors(folder: Path, text: bytes | bytearray, parts: int) -> shards.PartedTensors:
    return telling(shards.INDEX, lambda data: shards.PartedTensors(folder, data, parts), text)


def open_weights(folder: Path, engine: Engine = ALONE) -> dict[str, Any]:
    """The model's own tensors in a checkpoint, of which any part can be read alone.

    Args:
        folder: of the checkpoint.
        engine: the processes that read it together, as in `read`.

    Raises:
        DamagedCheckpoint: the files with them are not what its manifest vouches for.
        OSError: the disk refuses.
    """
    try:
        vouched = understood(content_of(folder, MANIFEST))["files"]
        if MODEL in vouched:
            return _together(engine, folder, lambda: _mapped(folder, vouched[MODEL], engine))
        _, tensors = _together(engine, folder, lambda: _opened(folder, vouched, engine))
        return dict(tensors.weights())
    except ValueError as error:
        raise _damaged(folder, error) from error


def _mapped(folder: Path, vouched: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    if engine.rank == 0:
        look_through(folder, MODEL, vouched)
    file = telling(MODEL, tensor_file.Mapped, folder / MODEL)
    return {name: file.pieces(name) for name in file.places}


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a checkpoint's manifest says, without a look at the other files: this is quick.

    Returns:
        What ``info`` gave `write`, and ``format``, ``version`` and ``files``.

    Raises:
        DamagedCheckpoint: there is none, it is damaged or of a later format.
        OSError: the disk refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     _ = write(Path(parent, "a"), {}, {"run": "a", "serial": 1, "step": 9, "epoch": 0})
        ...     read_manifest(Path(parent, "a"))["step"]
        9
    """
    try:
        return understood(content_of(folder, MANIFEST))
    except ValueError as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, reason: ValueError) -> DamagedCheckpoint:
    return DamagedCheckpoint(f"{folder} cannot be used: {reason}. Use another checkpoint.")


def _encoded(
    snapshot: Mapping[str, Any], info: Mapping[str, Any]
) -> tuple[dict[str, list[tensor_file.Part]], bytes]:
    """The contents of the files by name, and the manifest."""
    structure, tensors = plain.flatten(dict(snapshot))
    own = {name: tensors.pop(f"model.{name}") for name in own_names(snapshot)}
    contents: dict[str, list[tensor_file.Part]] = {
        MODEL: tensor_file.encode(own),
        STATE: tensor_file.encode(tensors),
        STRUCTURE: [strict_json.dump(structure)],
    }
    check_size(STRUCTURE, len(contents[STRUCTURE][0]))
    return contents, text_of(info, {name: vouch(p) for name, p in contents.items()}, VERSION)


def own_names(snapshot: Mapping[str, Any]) -> list[str]:
    """The names under which the model itself would hold tensors in its ``state_dict``."""
    model = snapshot.get("model")
    items = model.items() if is_mapping(model) else ()
    names = [
        name for name, value in items if type(name) is str and isinstance(value, (Tensor, Shard))
    ]
    return [name for name in names if name and not name.startswith(("#", "__metadata__"))]


def _nested(data: bytes | bytearray) -> Any:
    """A structure: what is nested once in a state is nested up to three times in the text."""
    return strict_json.parse(data, depth=3 * plain.DEPTH + 3)

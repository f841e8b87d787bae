"""One checkpoint is one folder: two files of tensors, one of text, and a manifest that vouches.

``model.safetensors`` holds the model's tensors under their own names, for any tool;
``state.safetensors`` all others; ``state.json`` says where each belongs; ``manifest.json``, written
last, says what the checkpoint is and how large each file is, with a checksum. Nothing here is
pickle: reading runs no code. Several processes may write one together, each its own parts of the
tensors: see `lehr.state.disk.shards`.
"""

import os
import reprlib
import stat
import zlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor

from lehr.base import files, strict_json
from lehr.base.descriptors import opened
from lehr.engine import ALONE, Engine
from lehr.state.disk import plain, shards, tensor_file
from lehr.state.pieces import Shard
from lehr.types import is_mapping

T = TypeVar("T")

VERSION = 1
"""The format of a checkpoint that one process writes."""

PARTED = 2
"""The format of one that several processes write. No other is read."""

MANIFEST = "manifest.json"
_MODEL, _STATE, _STRUCTURE = "model.safetensors", "state.safetensors", "state.json"
_FILES = (_MODEL, _STATE, _STRUCTURE)
_TEXTS = (_STRUCTURE, shards.INDEX)
_LARGEST = {MANIFEST: 1 << 22, **dict.fromkeys(_TEXTS, 1 << 26)}  # bytes; it grows when parsed
_SMALL = 1 << 15  # bytes
_BLOCK = 1 << 24  # bytes of a file that are held when it is only looked through
_FORMAT = "lehr checkpoint"
_WORDS = ("format", "version", "files", "checksum")
_NO_TRAPS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


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
        snapshot: what `lehr.state.capture` returned.
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
    return _understood(manifest)


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
        contents |= {_STRUCTURE: [strict_json.dump(structure)]}
        contents |= {shards.INDEX: [shards.index(tensors)]}
        for name in _TEXTS:
            _check_size(name, len(contents[name][0]))
    files.write_files(folder, contents)
    files.sync_folder(folder)
    return {name: _vouch(those) for name, those in contents.items()}


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
    manifest = _manifest(info, vouched, PARTED)
    files.write_files(folder, {MANIFEST: [manifest]})
    files.sync_folder(folder)
    return _understood(manifest)


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
        manifest = _understood(_contents(folder, MANIFEST))
        names = {path.name for path in folder.iterdir()}
        if foreign := sorted(names - {*manifest["files"], MANIFEST}):
            raise ValueError(f"{foreign[0][:80]!r} does not belong there")
        if manifest["version"] == PARTED:
            return Checkpoint(folder, _parted(folder, manifest["files"], engine), manifest)
        contents = {name: _checked(folder, name, manifest["files"][name]) for name in _FILES}
        structure = _telling(_STRUCTURE, _nested, contents.pop(_STRUCTURE))
        own = _telling(_MODEL, tensor_file.decode, contents.pop(_MODEL))
        tensors = _telling(_STATE, tensor_file.decode, contents.pop(_STATE))
        named = {f"model.{name}": tensor for name, tensor in own.items()}
        if twins := sorted(named.keys() & tensors.keys()):
            raise ValueError(f"{_MODEL} and {_STATE} both hold {twins[0][:80]!r}")
        snapshot = _snapshot(structure, {**tensors, **named})
    except ValueError as error:
        raise _damaged(folder, error) from error
    return Checkpoint(folder, snapshot, manifest)


def _snapshot(structure: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    snapshot = plain.unflatten(structure, tensors)
    if not is_mapping(snapshot) or any(type(name) is not str for name in snapshot):
        raise ValueError(f"{_STRUCTURE} holds no entries by name")
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
    texts = {name: _checked(folder, name, vouched[name]) for name in _TEXTS}
    structure = _telling(_STRUCTURE, _nested, texts[_STRUCTURE])
    names = shards.file_names((len(vouched) - len(_TEXTS)) // 2)
    tensors = _parted_tensors(folder, texts[shards.INDEX], len(names) // 2)
    for name in names[engine.rank :: engine.world]:
        _look_through(folder, name, vouched[name])
        _telling(name, tensors.check, name)
    return structure, tensors


def _parted_tensors(folder: Path, text: bytes | bytearray, parts: int) -> shards.PartedTensors:
    return _telling(shards.INDEX, lambda data: shards.PartedTensors(folder, data, parts), text)


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
        vouched = _understood(_contents(folder, MANIFEST))["files"]
        if _MODEL in vouched:
            return _together(engine, folder, lambda: _mapped(folder, vouched[_MODEL], engine))
        _, tensors = _together(engine, folder, lambda: _opened(folder, vouched, engine))
        return dict(tensors.weights())
    except ValueError as error:
        raise _damaged(folder, error) from error


def _mapped(folder: Path, vouched: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    if engine.rank == 0:
        _look_through(folder, _MODEL, vouched)
    file = _telling(_MODEL, tensor_file.Mapped, folder / _MODEL)
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
        return _understood(_contents(folder, MANIFEST))
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
        _MODEL: tensor_file.encode(own),
        _STATE: tensor_file.encode(tensors),
        _STRUCTURE: [strict_json.dump(structure)],
    }
    _check_size(_STRUCTURE, len(contents[_STRUCTURE][0]))
    return contents, _manifest(info, {name: _vouch(p) for name, p in contents.items()}, VERSION)


def _vouch(parts: list[tensor_file.Part]) -> dict[str, Any]:
    return {"size": sum(map(len, parts)), "crc32": _sum(*parts)}


def _check_size(name: str, size: int) -> None:
    if size > _LARGEST[name]:
        raise ValueError(
            f"{name} would take {size} bytes; it may take {_LARGEST[name]}. Keep long lists of "
            "numbers in a tensor."
        )


def _manifest(info: Mapping[str, Any], vouched: Mapping[str, Any], version: int) -> bytes:
    from lehr.state.disk.manifest import Position

    described, inner = plain.flatten(dict(info))
    todo = "Give run, serial, step and epoch, and numbers and texts."
    if inner:
        raise ValueError(f"info has tensors: {sorted(inner)}. {todo}")
    if reserved := sorted(info.keys() & set(_WORDS)):
        raise ValueError(f"info cannot say {reserved[0]!r}: the manifest does. {todo}")
    Position.read_among(info, "info", todo=todo)
    body = {"format": _FORMAT, "version": version, **described["dict"], "files": dict(vouched)}
    manifest = _sealed(strict_json.dump(body, indent=1))
    _check_size(MANIFEST, len(manifest))
    return manifest


def own_names(snapshot: Mapping[str, Any]) -> list[str]:
    """The names under which the model itself would hold tensors in its ``state_dict``."""
    model = snapshot.get("model")
    items = model.items() if is_mapping(model) else ()
    names = [
        name for name, value in items if type(name) is str and isinstance(value, (Tensor, Shard))
    ]
    return [name for name in names if name and not name.startswith(("#", "__metadata__"))]


def _sum(*parts: bytes | bytearray | memoryview) -> str:
    """CRC-32, which finds damage at half of SHA-256's cost; a forger would recompute either."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return f"{value:08x}"


def _sealed(text: bytes | bytearray) -> bytes:
    """A JSON object with one more word, the checksum of all that stands before it."""
    head = bytes(text).rstrip().removesuffix(b"}").rstrip()
    return head + f',\n "checksum": "{_sum(head)}"\n}}\n'.encode()


def _understood(data: bytes | bytearray) -> dict[str, Any]:
    """What the bytes of a manifest say.

    A folder is looked through at each save, and its manifests do not change: what was said by the
    last ones, which are small, is kept.
    """
    read = _said if len(data) < _SMALL else _said.__wrapped__
    return deepcopy(read(bytes(data)))


@lru_cache(maxsize=64)
def _said(data: bytes) -> dict[str, Any]:
    from lehr.state.disk.manifest import Position, Vouched

    said = _telling(MANIFEST, strict_json.parse, data)
    if not is_mapping(said) or said.get("format") != _FORMAT:
        raise ValueError(f"{MANIFEST} is not that of a checkpoint")
    head = data.rpartition(b',\n "checksum"')[0]
    if _sealed(head + b"}") != data:
        raise ValueError(f"{MANIFEST} does not have the checksum that it names")
    if (version := said.get("version")) not in (VERSION, PARTED) or type(version) is not int:
        raise ValueError(
            f"its format is version {reprlib.repr(version)}; this lehr reads versions {VERSION} "
            f"and {PARTED}, so install the one that wrote it"
        )
    described = {key: value for key, value in said.items() if key not in _WORDS}
    info = cast("dict[str, Any]", plain.unflatten({"dict": described}, {}))
    files = said.get("files")
    expected = _FILES
    if version == PARTED and is_mapping(files):
        expected = (*shards.file_names(max(1, (len(files) - len(_TEXTS)) // 2)), *_TEXTS)
    if not is_mapping(files) or sorted(files) != sorted(expected):
        raise ValueError(f"{MANIFEST} vouches for other files than {', '.join(expected[:6])}")
    try:
        Position.read_among(info, "it")
        for name, vouched in files.items():
            Vouched.read(vouched, name, at=name)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} says something impossible: {error}") from None
    return {"format": _FORMAT, "version": version, **info, "files": dict(files)}


def _checked(folder: Path, name: str, vouched: Mapping[str, Any]) -> bytearray:
    data = _contents(folder, name, vouched["size"])
    if (checksum := _sum(data)) != vouched["crc32"]:
        raise ValueError(f"{name} has the checksum {checksum}, and not {vouched['crc32']}")
    return data


def _look_through(folder: Path, name: str, vouched: Mapping[str, Any]) -> None:
    """See that a file is what the manifest vouches for, and hold little of it at a time."""
    checksum = _contents(folder, name, vouched["size"], _sum_of)
    if checksum != vouched["crc32"]:
        raise ValueError(f"{name} has the checksum {checksum}, and not {vouched['crc32']}")


def _contents(
    folder: Path,
    name: str,
    size: int | None = None,
    read: Callable[[FileIO, str, int], Any] | None = None,
) -> Any:
    """The bytes of a plain file; how many it holds is verified before any is read."""
    try:
        with opened(folder / name, os.O_RDONLY | _NO_TRAPS) as descriptor:
            return _read(descriptor, name, size, read or _filled)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{name} is missing") from None
    except OSError:
        if (folder / name).is_symlink():
            raise ValueError(f"{name} is a link") from None
        raise


def _read(
    descriptor: int, name: str, size: int | None, read: Callable[[FileIO, str, int], Any]
) -> Any:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name} is no plain file")
    if size is not None and size != status.st_size:
        raise ValueError(f"{name} holds {status.st_size} bytes, and not {size}")
    if status.st_size > _LARGEST.get(name, status.st_size):
        raise ValueError(f"{name} holds {status.st_size} bytes, more than {_LARGEST[name]}")
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return read(file, name, status.st_size)


def _sum_of(file: FileIO, name: str, size: int) -> str:
    """The checksum of a file, as `_sum` has it."""
    value, left = 0, size
    block = memoryview(bytearray(min(size, _BLOCK)))
    while left and (count := file.readinto(block[:left])):
        value, left = zlib.crc32(block[:count], value), left - count
    if left:
        raise ValueError(f"{name} ends {left} bytes early")
    return f"{value:08x}"


def _filled(file: FileIO, name: str, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view and (count := file.readinto(view)):
        view = view[count:]
    if view:
        raise ValueError(f"{name} ends {len(view)} bytes early")
    return data


def _nested(data: bytes | bytearray) -> Any:
    """A structure: what is nested once in a state is nested up to three times in the text."""
    return strict_json.parse(data, depth=3 * plain.DEPTH + 3)


def _telling(name: str, parse: Callable[[Any], T], data: Any) -> T:
    """What ``parse`` makes of a file; its error names the file."""
    try:
        return parse(data)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error

"""One checkpoint is one folder: two files of tensors, one of text, and a manifest that vouches.

``model.safetensors`` holds the model's tensors under their own names, for any tool;
``state.safetensors`` all others; ``state.json`` says where each belongs; ``manifest.json``, written
last, says what the checkpoint is and how large each file is, with a checksum. Nothing here is
pickle: reading runs no code.
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
from lehr.state.disk import plain, tensor_file
from lehr.types import is_mapping

T = TypeVar("T")

VERSION = 1
"""The format that is written, and the only one that is read."""

MANIFEST = "manifest.json"
_MODEL, _STATE, _STRUCTURE = "model.safetensors", "state.safetensors", "state.json"
_FILES = (_MODEL, _STATE, _STRUCTURE)
_LARGEST = {MANIFEST: 1 << 20, _STRUCTURE: 1 << 26}  # bytes; text takes much memory when parsed
_SMALL = 1 << 15  # bytes
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


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, after everything about it was verified.

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
        if foreign := sorted(names - {*_FILES, MANIFEST}):
            raise ValueError(f"{foreign[0][:80]!r} does not belong there")
        contents = {name: _checked(folder, name, manifest["files"][name]) for name in _FILES}
        structure = _telling(_STRUCTURE, _nested, contents.pop(_STRUCTURE))
        own = _telling(_MODEL, tensor_file.decode, contents.pop(_MODEL))
        tensors = _telling(_STATE, tensor_file.decode, contents.pop(_STATE))
        named = {f"model.{name}": tensor for name, tensor in own.items()}
        if twins := sorted(named.keys() & tensors.keys()):
            raise ValueError(f"{_MODEL} and {_STATE} both hold {twins[0][:80]!r}")
        snapshot = plain.unflatten(structure, {**tensors, **named})
        if not is_mapping(snapshot) or any(type(name) is not str for name in snapshot):
            raise ValueError(f"{_STRUCTURE} holds no entries by name")
    except ValueError as error:
        raise _damaged(folder, error) from error
    return Checkpoint(folder, dict(snapshot), manifest)


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
    from lehr.state.disk.manifest import Position

    structure, tensors = plain.flatten(dict(snapshot))
    own = {name: tensors.pop(f"model.{name}") for name in _own_names(snapshot)}
    contents: dict[str, list[tensor_file.Part]] = {
        _MODEL: tensor_file.encode(own),
        _STATE: tensor_file.encode(tensors),
        _STRUCTURE: [strict_json.dump(structure)],
    }
    described, inner = plain.flatten(dict(info))
    todo = "Give run, serial, step and epoch, and numbers and texts."
    if inner:
        raise ValueError(f"info has tensors: {sorted(inner)}. {todo}")
    if reserved := sorted(info.keys() & set(_WORDS)):
        raise ValueError(f"info cannot say {reserved[0]!r}: the manifest does. {todo}")
    Position.read_among(info, "info", todo=todo)
    body = {"format": _FORMAT, "version": VERSION, **described["dict"]}
    body["files"] = {
        name: {"size": sum(map(len, parts)), "crc32": _sum(*parts)}
        for name, parts in contents.items()
    }
    manifest = _sealed(strict_json.dump(body, indent=1))
    for name, size in ((_STRUCTURE, len(contents[_STRUCTURE][0])), (MANIFEST, len(manifest))):
        if size > _LARGEST[name]:
            raise ValueError(
                f"{name} would take {size} bytes; it may take {_LARGEST[name]}. Keep long lists of "
                "numbers in a tensor."
            )
    return contents, manifest


def _own_names(snapshot: Mapping[str, Any]) -> list[str]:
    """The names under which the model itself would hold tensors in its ``state_dict``."""
    model = snapshot.get("model")
    items = model.items() if is_mapping(model) else ()
    names = [name for name, value in items if type(name) is str and isinstance(value, Tensor)]
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
    if said.get("version") != VERSION:
        raise ValueError(
            f"its format is version {reprlib.repr(said.get('version'))}; this lehr reads version "
            f"{VERSION}, so install the one that wrote it"
        )
    described = {key: value for key, value in said.items() if key not in _WORDS}
    info = cast("dict[str, Any]", plain.unflatten({"dict": described}, {}))
    files = said.get("files")
    if not is_mapping(files) or sorted(files) != sorted(_FILES):
        raise ValueError(f"{MANIFEST} vouches for other files than {', '.join(_FILES)}")
    try:
        Position.read_among(info, "it")
        for name, vouched in files.items():
            Vouched.read(vouched, name, at=name)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} says something impossible: {error}") from None
    return {"format": _FORMAT, "version": VERSION, **info, "files": dict(files)}


def _checked(folder: Path, name: str, vouched: Mapping[str, Any]) -> bytearray:
    data = _contents(folder, name, vouched["size"])
    if (checksum := _sum(data)) != vouched["crc32"]:
        raise ValueError(f"{name} has the checksum {checksum}, and not {vouched['crc32']}")
    return data


def _contents(folder: Path, name: str, size: int | None = None) -> bytearray:
    """The bytes of a plain file; how many it holds is verified before any is read."""
    try:
        with opened(folder / name, os.O_RDONLY | _NO_TRAPS) as descriptor:
            return _read(descriptor, name, size)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{name} is missing") from None
    except OSError:
        if (folder / name).is_symlink():
            raise ValueError(f"{name} is a link") from None
        raise


def _read(descriptor: int, name: str, size: int | None) -> bytearray:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name} is no plain file")
    if size is not None and size != status.st_size:
        raise ValueError(f"{name} holds {status.st_size} bytes, and not {size}")
    if status.st_size > _LARGEST.get(name, status.st_size):
        raise ValueError(f"{name} holds {status.st_size} bytes, more than {_LARGEST[name]}")
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return _filled(file, name, status.st_size)


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


def _telling(name: str, parse: Callable[[Any], T], data: bytes | bytearray) -> T:
    """What ``parse`` makes of a file; its error names the file."""
    try:
        return parse(data)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error

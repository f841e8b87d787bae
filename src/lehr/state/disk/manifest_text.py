"""The text of a manifest: what it says of a checkpoint, sealed by a checksum of its own."""

import reprlib
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, cast

from lehr.base import strict_json
from lehr.state.disk import plain, shards
from lehr.state.disk.vouched import FILES, MANIFEST, TEXTS, check_size, checksum_of, telling
from lehr.types import is_mapping

VERSION = 1
"""The format of a checkpoint that one process writes."""

PARTED = 2
"""The format of one that several processes write. No other is read."""

_SMALL = 1 << 15  # bytes
_FORMAT = "lehr checkpoint"
_WORDS = ("format", "version", "files", "checksum")


def text_of(info: Mapping[str, Any], vouched: Mapping[str, Any], version: int) -> bytes:
    """The text of a new manifest.

    Args:
        info: as for `lehr.state.disk.checkpoint.write`.
        vouched: what `lehr.state.disk.vouched.vouch` says of each file, by name.
        version: of the format.

    Raises:
        TypeError, ValueError: something in ``info`` cannot be written, or it is too large.

    Example:
        >>> info = {"run": "a", "serial": 1, "step": 9, "epoch": 0}
        >>> print(text_of(info, {}, VERSION).decode().splitlines()[-2])
         "checksum": "..."
    """
    from lehr.state.disk.manifest import Position

    described, inner = plain.flatten(dict(info))
    todo = "Give run, serial, step and epoch, and numbers and texts."
    if inner:
        raise ValueError(f"info has tensors: {sorted(inner)}. {todo}")
    if reserved := sorted(info.keys() & set(_WORDS)):
        raise ValueError(f"info cannot say {reserved[0]!r}: the manifest does. {todo}")
    Position.read_among(info, "info", todo=todo)
    body = {"format": _FORMAT, "version": version, **described["dict"], "files": dict(vouched)}
    manifest = sealed(strict_json.dump(body, indent=1))
    check_size(MANIFEST, len(manifest))
    return manifest


def sealed(text: bytes | bytearray) -> bytes:
    """A JSON object with one more word, the checksum of all that stands before it."""
    head = bytes(text).rstrip().removesuffix(b"}").rstrip()
    return head + f',\n "checksum": "{checksum_of(head)}"\n}}\n'.encode()


def understood(data: bytes | bytearray) -> dict[str, Any]:
    """What the bytes of a manifest say, once they were verified.

    A folder is looked through at each save, and its manifests do not change: what was said by the
    last ones, which are small, is kept.

    Raises:
        ValueError: they are damaged, or of a later format.
    """
    read = _said if len(data) < _SMALL else _said.__wrapped__
    return deepcopy(read(bytes(data)))


@lru_cache(maxsize=64)
def _said(data: bytes) -> dict[str, Any]:
    from lehr.state.disk.manifest import Position, Vouched

    said = telling(MANIFEST, strict_json.parse, data)
    if not is_mapping(said) or said.get("format") != _FORMAT:
        raise ValueError(f"{MANIFEST} is not that of a checkpoint")
    head = data.rpartition(b',\n "checksum"')[0]
    if sealed(head + b"}") != data:
        raise ValueError(f"{MANIFEST} does not have the checksum that it names")
    if (version := said.get("version")) not in (VERSION, PARTED) or type(version) is not int:
        raise ValueError(
            f"its format is version {reprlib.repr(version)}; this lehr reads versions {VERSION} "
            f"and {PARTED}, so install the one that wrote it"
        )
    described = {key: value for key, value in said.items() if key not in _WORDS}
    info = cast("dict[str, Any]", plain.unflatten({"dict": described}, {}))
    files = said.get("files")
    expected = FILES
    if version == PARTED and is_mapping(files):
        expected = (*shards.file_names(max(1, (len(files) - len(TEXTS)) // 2)), *TEXTS)
    if not is_mapping(files) or sorted(files) != sorted(expected):
        raise ValueError(f"{MANIFEST} vouches for other files than {', '.join(expected[:6])}")
    try:
        Position.read_among(info, "it")
        for name, vouched in files.items():
            Vouched.read(vouched, name, at=name)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} says something impossible: {error}") from None
    return {"format": _FORMAT, "version": version, **info, "files": dict(files)}

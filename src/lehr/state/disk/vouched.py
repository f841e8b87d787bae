"""The files of a checkpoint, and how it is verified that they are what its manifest vouches for."""

import os
import stat
import zlib
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from lehr.base.descriptors import opened
from lehr.state.disk import shards

T = TypeVar("T")

MANIFEST = "manifest.json"
MODEL, STATE, STRUCTURE = "model.safetensors", "state.safetensors", "state.json"
FILES = (MODEL, STATE, STRUCTURE)
"""What one process writes, besides the manifest"""
TEXTS = (STRUCTURE, shards.INDEX)
"""What several write besides their tensors"""
LARGEST = {MANIFEST: 1 << 22, **dict.fromkeys(TEXTS, 1 << 26)}
"""The bytes that a text may take; it grows when it is parsed"""
_BLOCK = 1 << 24  # bytes of a file that are held when it is only looked through
_NO_TRAPS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def vouch(parts: Sequence[bytes | bytearray | memoryview]) -> dict[str, Any]:
    """What a manifest says of a file with these contents.

    Example:
        >>> vouch([b"a", b"bc"])
        {'size': 3, 'crc32': '352441c2'}
    """
    return {"size": sum(map(len, parts)), "crc32": checksum_of(*parts)}


def check_size(name: str, size: int) -> None:
    """See that a text is not larger than one that is read.

    Raises:
        ValueError: it is.
    """
    if size > LARGEST[name]:
        raise ValueError(
            f"{name} would take {size} bytes; it may take {LARGEST[name]}. Keep long lists of "
            "numbers in a tensor."
        )


def checksum_of(*parts: bytes | bytearray | memoryview) -> str:
    """CRC-32, which finds damage at half of SHA-256's cost; a forger would recompute either."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return f"{value:08x}"


def checked(folder: Path, name: str, vouched: Mapping[str, Any]) -> bytearray:
    """The content of a file that is what the manifest vouches for.

    Args:
        folder: of the checkpoint.
        name: of the file.
        vouched: what `vouch` said of it.

    Raises:
        ValueError: it is not.
        OSError: the disk refuses.
    """
    data = content_of(folder, name, vouched["size"])
    if (checksum := checksum_of(data)) != vouched["crc32"]:
        raise ValueError(f"{name} has the checksum {checksum}, and not {vouched['crc32']}")
    return data


def look_through(folder: Path, name: str, vouched: Mapping[str, Any]) -> None:
    """See that a file is what `checked` would give, and hold little of it at a time."""
    checksum = content_of(folder, name, vouched["size"], _checksum_of_file)
    if checksum != vouched["crc32"]:
        raise ValueError(f"{name} has the checksum {checksum}, and not {vouched['crc32']}")


def content_of(
    folder: Path,
    name: str,
    size: int | None = None,
    read: Callable[[FileIO, str, int], Any] | None = None,
) -> Any:
    """The bytes of a plain file; how many it holds is verified before any is read.

    Args:
        folder: of the checkpoint.
        name: of the file.
        size: how many it must hold; None if that is not known.
        read: given the open file, its name and its size, what is returned in place of its bytes.

    Raises:
        ValueError: it is missing, or no plain file, or of another size.
        OSError: the disk refuses.
    """
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
    if status.st_size > LARGEST.get(name, status.st_size):
        raise ValueError(f"{name} holds {status.st_size} bytes, more than {LARGEST[name]}")
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return read(file, name, status.st_size)


def _checksum_of_file(file: FileIO, name: str, size: int) -> str:
    """The checksum of a file, as `checksum_of` has it."""
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


def telling(name: str, parse: Callable[[Any], T], data: Any) -> T:
    """What ``parse`` makes of the data of a file; its ValueError names the file.

    Example:
        >>> telling("a.json", int, "x")
        Traceback (most recent call last):
        ValueError: a.json cannot be read: invalid literal for int() with base 10: 'x'
    """
    try:
        return parse(data)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error

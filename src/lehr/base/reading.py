"""Reading files of unknown origin: nothing is waited for, and a small file takes little memory."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from lehr.base.descriptors import open_file

_NO_TRAPS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

UNPACKED_FREELY = 1 << 28
"""Bytes that anything packed may unpack to."""

UNPACKED_RATIO = 100
"""How many times its size anything packed may unpack to, beyond that. Photographs come to 1,
tables and digits to 10; what was packed to fill a memory comes to 1000."""


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading if it is a plain one: a named pipe would keep its reader waiting.

    Links are followed: what they lead to must be a plain file.

    Raises:
        ValueError: it is a named pipe, a socket, a device or a folder.
        OSError: it is not there, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a").write_bytes(b"one")
        ...     with open_plain(Path(folder, "a")) as file:
        ...         file.read()
        b'one'
    """
    _require_plain(path, path.stat().st_mode)  # to open some devices does something
    file: BufferedReader = BufferedReader(open_file(path, os.O_RDONLY | _NO_TRAPS))
    try:
        _require_plain(path, os.fstat(file.fileno()).st_mode)
    except ValueError:
        file.close()
        raise
    return file


def read_plain(path: Path, most: int | None = None) -> bytes:
    """The content of a plain file.

    Args:
        path: of the file.
        most: the bytes that it may have; None for any number.

    Raises:
        ValueError: it is no plain file, or has more.
        OSError: it is not there, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a").write_bytes(b"one")
        ...     read_plain(Path(folder, "a"), most=3)
        b'one'
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise ValueError(f"{path} has {size:,} bytes; it may have {most:,}. Give another file.")
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:  # it grows
        raise ValueError(f"{path} has more than the {most:,} bytes that it may have.")
    return content


def check_unpacked(what: str, packed: int, unpacked: int) -> None:
    """Refuse to unpack what was packed to fill the memory when it is unpacked.

    Args:
        what: what messages call it.
        packed: its bytes in the file.
        unpacked: the bytes that it says it unpacks to.

    Raises:
        ValueError: those are more than `UNPACKED_FREELY` and than `UNPACKED_RATIO` times as many.

    Example:
        >>> check_unpacked("a.npz", packed=1_000, unpacked=900_000)
    """
    if unpacked > max(UNPACKED_FREELY, UNPACKED_RATIO * packed):
        raise ValueError(
            f"{what} would unpack from {packed:,} to {unpacked:,} bytes, more than "
            f"{UNPACKED_RATIO} times as many. If that is what it holds, store it unpacked."
        )


def _require_plain(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"{path} must be a plain file; it is {kind}. Give the file itself.")

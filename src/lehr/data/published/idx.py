"""Reads the IDX format, in which the MNIST files come."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

_TYPES = {
    0x08: "u1",
    0x09: "i1",
    0x0B: ">i2",
    0x0C: ">i4",
    0x0D: ">f4",
    0x0E: ">f8",
}


def read_idx(path: str | Path) -> Tensor:
    """The array in an IDX file, compressed with gzip or not.

    The file is: two zero bytes, a byte for the type of an entry, a byte for the number of
    dimensions, each dimension as a big-endian 32-bit integer, then the entries, row by row and
    big-endian. Everything is checked against the size of the file; nothing is executed.

    Args:
        path: the file; that it is compressed is seen from its content, not from its name.

    Returns:
        A tensor of the file's shape and type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no IDX file, is damaged, or holds fewer or more bytes than it announces.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "two-shorts")
        ...     _ = file.write_bytes(bytes([0, 0, 0x0B, 1, 0, 0, 0, 2, 0, 5, 255, 255]))
        ...     read_idx(file)
        tensor([ 5, -1], dtype=torch.int16)

    Reference:
        Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", the section
        on the file format.
    """
    import numpy as np

    content = _content(Path(path))
    code, n_dims = _kind(content, path)
    header = 4 + 4 * n_dims
    if len(content) < header:
        raise ValueError(
            f"{path} ends within its header: it has {len(content)} bytes of at least {header}. "
            "Fetch the file again."
        )
    shape = struct.unpack(f">{n_dims}I", content[4:header])
    dtype = np.dtype(_TYPES[code])
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        fault = "is cut short" if len(content) < expected else "has trailing bytes"
        raise ValueError(
            f"{path} {fault}: shape {shape} of {dtype.name} needs {expected} bytes, but it has "
            f"{len(content)}. Fetch the file again."
        )
    entries = np.frombuffer(content, dtype, offset=header).reshape(shape)
    return torch.from_numpy(entries.astype(dtype.newbyteorder("=")))


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} must be a whole gzip file; unpacking it says: {error}. Fetch the file again."
        ) from error


def _kind(content: bytes, path: str | Path) -> tuple[int, int]:
    """The type code and the number of dimensions, from the four magic bytes."""
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        codes = ", ".join(f"{code:02x}" for code in _TYPES)
        raise ValueError(
            f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}; expected 00 00, "
            f"a type code ({codes}) and a number of dimensions. Give the file as it was published."
        )
    return magic[2], magic[3]

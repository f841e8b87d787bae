"""Reads the IDX format, in which the MNIST files come."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lehr.base.paths import path_of
from lehr.base.reading import check_unpacked, open_plain

_TYPES = {
    0x08: "u1",
    0x09: "i1",
    0x0B: ">i2",
    0x0C: ">i4",
    0x0D: ">f4",
    0x0E: ">f8",
}
_PIECE = 1 << 24  # bytes unpacked at once


def read_idx(path: str | Path) -> Tensor:
    """The array in an IDX file, compressed with gzip or not.

    The file is: two zero bytes, a byte for the type of an entry, a byte for the number of
    dimensions, each dimension as a big-endian 32-bit integer, then the entries, row by row and
    big-endian. No more is unpacked than the header announces, which must be in proportion to the
    size of the file; nothing is executed.

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

    with open_plain(path_of(path)) as file:
        size = os.fstat(file.fileno()).st_size
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        try:
            code, shape, header = _header(stream, path)
            dtype = np.dtype(_TYPES[code])
            expected = math.prod(shape) * dtype.itemsize
            if packed:
                check_unpacked(str(path), size, expected)
            content = _entries(stream, expected if packed else min(expected, size))
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path} must be a whole gzip file; unpacking it says: {error}. Fetch the file "
                "again."
            ) from error
    if len(content) != expected:
        fault = "is cut short" if len(content) < expected else "has trailing bytes"
        has = size if not packed else header + len(content)
        if packed and len(content) > expected:
            has = "more"
        raise ValueError(
            f"{path} {fault}: shape {shape} of {dtype.name} needs {header + expected} bytes, but "
            f"it has {has}. Fetch the file again."
        )
    entries = np.frombuffer(content, dtype).reshape(shape)
    return torch.from_numpy(entries.astype(dtype.newbyteorder("="), copy=False))


def _header(stream: BinaryIO | gzip.GzipFile, path: str | Path) -> tuple[int, tuple[int, ...], int]:
    """The type code, the shape, and how many bytes say them."""
    code, n_dims = _kind(stream.read(4), path)
    sizes, header = stream.read(4 * n_dims), 4 + 4 * n_dims
    if len(sizes) < 4 * n_dims:
        raise ValueError(
            f"{path} ends within its header: it has {4 + len(sizes)} bytes of at least {header}. "
            "Fetch the file again."
        )
    return code, struct.unpack(f">{n_dims}I", sizes), header


def _entries(stream: BinaryIO | gzip.GzipFile, n: int) -> bytearray:
    """So many bytes, and one more if there is one; the checksum of a packed file is at its end."""
    content = bytearray()
    while len(content) <= n and (part := stream.read(min(_PIECE, n + 1 - len(content)))):
        content += part
    return content


def _kind(magic: bytes, path: str | Path) -> tuple[int, int]:
    """The type code and the number of dimensions, from the four magic bytes."""
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 0 < magic[3] <= 32:
        codes = ", ".join(f"{code:02x}" for code in _TYPES)
        raise ValueError(
            f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}; expected 00 00, "
            f"a type code ({codes}) and a number of dimensions. Give the file as it was published."
        )
    return magic[2], magic[3]

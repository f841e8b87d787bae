"""Arrays that stay in their file, larger than the memory perhaps; rows are read as they are needed.

The system keeps what was read of a mapped file, and counts it as memory of the process: one row of
three kilobytes can bring in two megabytes around it. So rows of a large file are not read through
the map but from the file, which takes as long and leaves nothing behind.
"""

import mmap
import os
import warnings
import weakref
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base.arrays import is_numpy
from lehr.base.descriptors import open_file

RESIDENT = 1 << 29
"""Bytes of a mapped file that may stay in memory; of a larger one, nothing does."""

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def mapping_of(values: Any) -> mmap.mmap | None:
    """The mapped file that an array of NumPy lies in; None if it lies in none.

    Example:
        >>> import numpy as np
        >>> mapping_of(np.zeros(3)) is None
        True
    """
    base = values if is_numpy(values) or hasattr(values, "filename") else None
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base


def mapped_tensor(array: Any) -> Tensor:
    """A mapped array as a tensor that shares it.

    If it was mapped read-only, whoever writes to the tensor ends the process.

    Raises:
        TypeError: it is of a kind of numbers that torch does not have.

    Example:
        >>> import numpy as np
        >>> mapped_tensor(np.arange(3))
        tensor([0, 1, 2])
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


class MappedRows:
    """Copies rows of a mapped array.

    Args:
        array: of NumPy, as ``numpy.load(path, mmap_mode="r")`` gives it, or a part of one.

    Raises:
        TypeError: it is of a kind of numbers that torch does not have.
        OSError: the file is no longer there.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.arange(6).reshape(3, 2))
        ...     mapped = MappedRows(np.load(Path(folder, "a.npy"), mmap_mode="r"))
        ...     mapped.gather(torch.tensor([2, 0]))
        tensor([[4, 5],
                [0, 1]])
    """

    def __init__(self, array: Any) -> None:
        self.tensor = mapped_tensor(array)
        whole, root = mapping_of(array), _root(array)
        self._file = None
        if whole is None or len(whole) <= RESIDENT or not _is_read_in_rows(array, root):
            return
        self._first = int(root.offset) + array.ctypes.data - root.ctypes.data
        self._stride: int = array.strides[0]
        self._path = Path(root.filename)
        self._file = open_file(self._path, _FLAGS)
        weakref.finalize(self, self._file.close)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}  # a copy of it has a copy of the array

    def gather(self, indices: Tensor) -> Tensor:
        """The rows at ``indices``, int64 ``(n,)``.

        Raises:
            IndexError: there is no such row.
            OSError: the file cannot be read, or has become shorter.
        """
        if self._file is None:
            return self.tensor.index_select(0, indices)
        numbers = cast("list[int]", indices.tolist())
        out = torch.empty(len(numbers), *self.tensor.shape[1:], dtype=self.tensor.dtype)
        if not out.numel():
            return out
        if min(numbers) < 0 or max(numbers) >= len(self.tensor):
            raise IndexError(f"indices must be from 0 to {len(self.tensor) - 1}; got {numbers}")
        content: Any = out.view(-1).view(torch.uint8).numpy()
        flat, place = memoryview(content), self._file.fileno()
        size = len(flat) // len(numbers)
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))) and size == self._stride:
            self._read(flat, self._first + numbers[0] * size)
            return out
        away: list[tuple[memoryview, int]] = []
        for row, number in enumerate(numbers):
            into = flat[row * size : row * size + size]
            first = self._first + number * self._stride
            if (read := _read_at_once(place, into, first)) < size:
                away.append((into[read:], first + read))
        for into, first in away:  # the disk brings all of them at once
            _announce(place, first, len(into))
        for into, first in away:
            self._read(into, first)
        return out

    def _read(self, into: memoryview, first: int) -> None:
        assert self._file is not None
        while into:
            if not (read := os.preadv(self._file.fileno(), [into], first)):
                raise OSError(f"{self._path} ends {len(into):,} bytes too early. Has it changed?")
            into, first = into[read:], first + read


def _root(array: Any) -> Any:
    """The array that was mapped, of which this one is a part."""
    while is_numpy(array.base) or hasattr(array.base, "filename"):
        array = array.base
    return array


def _is_read_in_rows(array: Any, root: Any) -> bool:
    """Whether each row is in one piece of a file that has all that is in the array."""
    known = getattr(root, "filename", None) is not None and hasattr(os, "preadv")
    # What was changed in a private copy is not in the file.
    return known and root.mode != "c" and array.ndim > 0 and array[:1].flags.c_contiguous


def _read_at_once(place: int, into: memoryview, first: int) -> int:
    """Read what the system has in memory; how many bytes that were."""
    try:
        return os.preadv(place, [into], first, _NOWAIT) if _NOWAIT else 0
    except OSError:  # nothing, or the file system cannot tell
        return 0


def _announce(place: int, first: int, size: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(place, first, size, os.POSIX_FADV_WILLNEED)

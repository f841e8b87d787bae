"""Reads NumPy's files of arrays; nothing in them is executed."""

import os
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from lehr.base.paths import path_of
from lehr.base.reading import check_unpacked, open_plain
from lehr.data.loading.dataset import as_tensor
from lehr.errors import did_you_mean

_DAMAGE = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError)


def read_npz(path: str | Path) -> dict[str, Any]:
    """Every array in an .npz file, by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no .npz file, is damaged, or holds Python objects.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "a.npz"), x=np.zeros((2, 3)))
        ...     read_npz(Path(folder, "a.npz"))["x"].shape
        (2, 3)
    """
    loaded = _load(path_of(path))
    if not isinstance(loaded, dict):
        raise ValueError(
            f"{path} must be an .npz file with arrays x and y; it holds a single array without a "
            "name. Write one with numpy.savez(path, x=x, y=y)."
        )
    return cast("dict[str, Any]", loaded)


def read_items(path: str | Path) -> Tensor:
    """The array of an .npy file, or the array x of an .npz file, as a tensor.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither, is damaged, holds Python objects or text, or has no x.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.zeros((2, 3)))
        ...     read_items(Path(folder, "a.npy")).shape
        torch.Size([2, 3])
    """
    loaded = _load(path_of(path))
    if isinstance(loaded, dict):
        arrays = cast("dict[str, Any]", loaded)
        if "x" not in arrays:
            raise ValueError(f"{path} must have an array x. {did_you_mean('x', arrays)}")
        loaded = arrays["x"]
    return to_tensor(f"the array of {path}", loaded)


def to_tensor(name: str, values: Any) -> Tensor:
    """``values`` as a tensor of numbers in the computer's memory, without a graph.

    Raises:
        TypeError: it holds something else than real numbers.

    Example:
        >>> to_tensor("x", [[1, 2]]).shape
        torch.Size([1, 2])
    """
    tensor = as_tensor(name, values).detach().cpu()
    if tensor.is_complex():
        raise TypeError(f"{name} must hold real numbers; got {tensor.dtype}. Give its parts.")
    unsigned = (torch.uint16, torch.uint32, torch.uint64)  # torch computes little with these
    return tensor.long() if tensor.dtype in unsigned else tensor


def _load(path: Path) -> Any:
    """One array, or a dict of them."""
    import numpy as np

    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "is not there"
        raise FileNotFoundError(f"{path} must be a file of arrays; it {what}. Check the path.")
    with open_plain(path) as file:  # numpy leaves a damaged file open
        with _naming(path):
            unpacked = _unpacked(file)
        check_unpacked(str(path), os.fstat(file.fileno()).st_size, unpacked)
        with _naming(path):
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                return loaded
            with loaded:
                return {name: cast(Any, loaded[name]) for name in loaded.files}


def _unpacked(file: BinaryIO) -> int:
    """How many bytes an .npz file unpacks to, as it says itself; 0 for any other."""
    total = 0
    if file.read(4) == b"PK\3\4":
        with zipfile.ZipFile(file) as archive:
            total = sum(member.file_size for member in archive.infolist())
    file.seek(0)
    return total


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """A scope in which the error of a damaged file names the file."""
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"{path} must be a whole .npy or .npz file of numbers or text; reading it says: "
            f"{type(error).__name__}: {error}. Write it again with numpy.save or numpy.savez; "
            "arrays of Python objects are not read."
        ) from error

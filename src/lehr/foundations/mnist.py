"""The digits to learn from, read from the files in which they were published."""

import gzip
import os
from pathlib import Path

import torch
from torch import Tensor


def get_data(root: str | Path | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """MNIST's training images: 50,000 with their labels to train on, 10,000 to validate on.

    Args:
        root: the folder with ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``, or
            the one above ``mnist/`` that has them; by default the one that LEHR_DATA names.

    Returns:
        ``x_train, y_train, x_valid, y_valid``: pixels from 0 to 1, ``(items, 784)`` of float32, and
        labels from 0 to 9, ``(items,)`` of int64.

    Raises:
        FileNotFoundError: they are not there.

    Example:
        >>> x_train, y_train, x_valid, y_valid = get_data()  # doctest: +SKIP
        >>> x_train.shape, y_train[:5].tolist()  # doctest: +SKIP
        (torch.Size([50000, 784]), [5, 0, 4, 1, 9])

    Reference:
        Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits".
    """
    folder = Path(os.environ.get("LEHR_DATA", ".") if root is None else root)
    x = read_idx(_find(folder, "train-images-idx3-ubyte.gz")).flatten(1) / 255
    y = read_idx(_find(folder, "train-labels-idx1-ubyte.gz")).long()
    return x[:50_000], y[:50_000], x[50_000:], y[50_000:]


def read_idx(path: Path) -> Tensor:
    """The bytes of an IDX file in their shape.

    Two zeros, the type (8: bytes), the number of dimensions, and each in four bytes come before.
    """
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"path must be an IDX file of bytes; got {path}. Fetch it again.")
    start = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4)]
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=start).view(shape)


def _find(folder: Path, name: str) -> Path:
    for place in (folder / "mnist", folder):
        if (place / name).exists():
            return place / name
    raise FileNotFoundError(
        f"root must have {name}, there or in mnist/; got {folder}. Fetch it from "
        "https://ossci-datasets.s3.amazonaws.com/mnist/; pass its folder, or set LEHR_DATA to it."
    )

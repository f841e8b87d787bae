"""The MNIST digits from their published files, split as the lesson splits them."""

import os
from pathlib import Path

from torch import Tensor

from lehr.data.bunch import DataBunch, get_dls
from lehr.data.dataset import Dataset
from lehr.data.idx import read_idx
from lehr.data.split import normalized

_PLACES = ("mnist", "MNIST/raw", ".")


def read_mnist(root: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """The 60,000 training images, uint8 ``(60000, 28, 28)``, and labels, int64 ``(60000,)``.

    Args:
        root: folder with the files in ``mnist/`` (or ``MNIST/raw/``, or in itself); by default the
            one that the environment variable LEHR_DATA names.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a file is damaged, or images and labels do not belong together.
    """
    images = read_idx(_find("train-images-idx3-ubyte", root))
    labels = read_idx(_find("train-labels-idx1-ubyte", root))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"the MNIST files must hold images (n, rows, columns) and labels (n,); got shapes "
            f"{tuple(images.shape)} and {tuple(labels.shape)}. Fetch the files again."
        )
    return images, labels.long()


def mnist(
    batch_size: int = 64,
    *,
    root: str | Path | None = None,
    valid_items: int = 10_000,
    normalize: bool = False,
    flat: bool = False,
    drop_last: bool = False,
    seed: int | None = None,
) -> DataBunch:
    """MNIST's training images: the first 50,000 to train on, the last 10,000 to validate on.

    Args:
        batch_size: of training; validation has twice that.
        root: folder of the files; see `read_mnist`.
        valid_items: how many of the last images are for validation.
        normalize: bring pixels to mean 0 and standard deviation 1 over the training images; else
            they are in [0, 1].
        flat: images of shape ``(784,)`` instead of ``(1, 28, 28)``.
        drop_last: leave out a last training batch that is not full.
        seed: see `lehr.data.DataLoader`.

    Returns:
        A DataBunch with ``c = 10``; ``xb`` is float32 ``(batch, 1, 28, 28)``, ``yb`` int64
        ``(batch,)``.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a file is damaged, or ``valid_items`` leaves one part empty.

    Example:
        >>> bunch = mnist(batch_size=64)  # doctest: +SKIP
        >>> len(bunch.train_dl), len(bunch.valid_dl)  # doctest: +SKIP
        (782, 79)

    Reference:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
        recognition", Proceedings of the IEEE, 1998. Pixels are divided by 255; the file that the
        lesson reads was divided by 256, hence its mean 0.1304 where ours is 0.1310.
    """
    images, labels = read_mnist(root)
    n_train = len(images) - valid_items
    if not 0 < n_train < len(images):
        raise ValueError(
            f"valid_items must leave images to both parts; got {valid_items} of {len(images)}. "
            "Give e.g. valid_items=10_000."
        )
    x = images.float().div_(255)[:, None]  # (60000, 1, 28, 28)
    x = x.flatten(1) if flat else x
    train_x, valid_x = x[:n_train], x[n_train:]
    if normalize:
        train_x, valid_x = normalized(train_x, valid_x)
    train_ds, valid_ds = Dataset(train_x, labels[:n_train]), Dataset(valid_x, labels[n_train:])
    return DataBunch(*get_dls(train_ds, valid_ds, batch_size, drop_last=drop_last, seed=seed), c=10)


def _find(name: str, root: str | Path | None) -> Path:
    named = root if root is not None else os.environ.get("LEHR_DATA")
    if not named:
        raise FileNotFoundError(
            f"{name}.gz is needed and no folder was named to look in. Set the environment variable "
            "LEHR_DATA, or pass root=, to the folder that has it in mnist/."
        )
    folders = [Path(named) / place for place in _PLACES]
    for folder in folders:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    raise FileNotFoundError(
        f"{name} or {name}.gz must be in one of {', '.join(map(str, folders))}; it is in none. "
        "Put MNIST's published files there, or point root= or LEHR_DATA at them."
    )

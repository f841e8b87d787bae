"""Real handwritten digits that come with the package: small enough to train in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from lehr.data.bunch import DataBunch
from lehr.data.published.options import SetOptions, takes
from lehr.data.split import check_split, random_split
from lehr.errors import real_number


def read_digits() -> tuple[Tensor, Tensor]:
    """The 1797 images, uint8 ``(1797, 8, 8)`` from 0 to 16, and their labels, int64 ``(1797,)``.

    Example:
        >>> images, labels = read_digits()
        >>> images.shape, labels[:5]
        (torch.Size([1797, 8, 8]), tensor([0, 1, 2, 3, 4]))

    Reference:
        E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
        Learning Repository, 1998, doi 10.24432/C50P49; see ``digits.LICENSE.txt``.
    """
    import numpy as np

    with (resources.files("lehr.data") / "digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        images, labels = arrays["images"], arrays["labels"]
    return torch.from_numpy(images), torch.from_numpy(labels).long()


@dataclass(frozen=True, kw_only=True)
class DigitsOptions(SetOptions):
    """Options of `digits`.

    Args:
        valid_share: share of the images kept for validation.
        split_seed: decides which.
    """

    valid_share: float = 0.2
    split_seed: int = 0
    normalize: bool | Sequence[Any] = True


@takes(DigitsOptions)
def digits(options: DigitsOptions) -> DataBunch:
    """Handwritten digits, 8 by 8 pixels, ready to train on; nothing is downloaded.

    Returns:
        A DataBunch with ``c = 10``; ``xb`` is float32 ``(batch, 1, 8, 8)``, ``yb`` int64
        ``(batch,)``.

    Raises:
        ValueError: ``valid_share`` leaves one part empty, or an argument is wrong.
        TypeError: an argument is of the wrong type.

    Example:
        >>> bunch = digits()
        >>> len(bunch.train_ds), len(bunch.valid_ds), bunch.c
        (1438, 359, 10)
    """
    check_split(options.split, options.preparation, ("valid", "all"))
    images, labels = read_digits()
    pixels = images[:, None]  # (1797, 1, 8, 8)
    share = real_number("valid_share", options.valid_share)
    train = valid = torch.arange(len(pixels))
    if options.split != "all":
        train, valid = random_split(len(pixels), share, options.split_seed)
    parts = (pixels[train], labels[train]), (pixels[valid], labels[valid])
    return options.bunch(*parts, tuple("0123456789"), white=16)

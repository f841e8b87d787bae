"""Real handwritten digits that come with the package: small enough to train in seconds."""

from importlib import resources

import torch
from torch import Tensor

from lehr.data.bunch import DataBunch
from lehr.data.image_bunch import pixel_bunch
from lehr.data.image_preparation import ImagePreparation
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


def digits(
    batch_size: int = 64,
    *,
    split: str = "valid",
    valid_share: float = 0.2,
    split_seed: int = 0,
    normalize: bool = True,
    flat: bool = False,
    augment: str | None = None,
    size: int | tuple[int, int] | None = None,
    preparation: ImagePreparation | None = None,
    drop_last: bool = False,
    seed: int | None = None,
) -> DataBunch:
    """Handwritten digits, 8 by 8 pixels, ready to train on; nothing is downloaded.

    Args:
        batch_size: of training; validation has twice that.
        split: ``"valid"``, or ``"all"``, with a ``preparation`` only, to evaluate on every image:
            both loaders have all of them then.
        valid_share: share of the images kept for validation.
        split_seed: decides which.
        normalize: bring pixels to mean 0 and standard deviation 1 over the training images; else
            they are in [0, 1].
        flat: images of shape ``(64,)`` instead of ``(1, 8, 8)``.
        augment: changes training images at random, e.g. ``"shift"``.
        size: height and width, or one number for both, to bring the images to.
        preparation: of an earlier run; decides mode, size, scale, flatness and labels instead.
        drop_last: leave out a last training batch that is not full.
        seed: see `lehr.data.DataLoader`.

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
    check_split(split, preparation, ("valid", "all"))
    images, labels = read_digits()
    pixels = images[:, None]  # (1797, 1, 8, 8)
    share = real_number("valid_share", valid_share)
    train = valid = torch.arange(len(pixels))
    if split != "all":
        train, valid = random_split(len(pixels), share, split_seed)
    return pixel_bunch(
        (pixels[train], labels[train]),
        (pixels[valid], labels[valid]),
        tuple("0123456789"),
        batch_size,
        size=size,
        normalize=normalize,
        flat=flat,
        preparation=preparation,
        white=16,
        augment=augment,
        drop_last=drop_last,
        seed=seed,
    )

"""Pixels and labels of two parts into a DataBunch; every set of images is built by this."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lehr.base.values import check_default_device
from lehr.data.bunch import DataBunch, get_dls
from lehr.data.images.decode import MODES, fit, to_image, to_tensor
from lehr.data.images.fields import given_scale, image_size
from lehr.data.images.files import ImageFiles
from lehr.data.images.images import Images
from lehr.data.images.preparation import ImagePreparation, statistics
from lehr.data.loading.dataset import Dataset
from lehr.errors import did_you_mean

if TYPE_CHECKING:
    from lehr.data.images.cache import CachedPixels

PREPARED_BYTES = 1 << 28
"""A part that is not augmented and takes at most as much is kept prepared, as floats."""

Part = tuple["Tensor | ImageFiles | CachedPixels", Tensor]
"""Pixels, uint8 ``(n, channels, height, width)``, or files or a cache; and labels, int64 ``(n,)``.
"""

Names = Callable[[int], str] | None
"""What to call an item of a part before a reader; None where it has only a number."""


def image_bunch(
    train: Part,
    valid: Part,
    preparation: ImagePreparation,
    batch_size: int,
    *,
    augment: str | None = None,
    white: int = 255,
    drop_last: bool = False,
    seed: int | None = None,
    num_workers: int = 0,
    names: tuple[Names, Names] = (None, None),
) -> DataBunch:
    """Two parts, ready to train on; only the first is ever augmented.

    Args:
        train: to train on.
        valid: to validate on.
        preparation: what both are prepared with.
        batch_size: of training; validation has twice that.
        augment: see `lehr.data.images.augment.parse_augment`.
        white: the number of a white pixel.
        drop_last: see `lehr.data.DataLoader`.
        seed: as above.
        num_workers: as above.
        names: of the items of each part.

    Example:
        >>> part = torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6) % 2
        >>> bunch = image_bunch(part, part, ImagePreparation(("a", "b"), "L", (4, 4)), 2)
        >>> bunch, bunch.classes
        (DataBunch(train: 3 batches, valid: 2 batches, c=2), ('a', 'b'))
    """

    def dataset(part: Part, augment: str | None, names: Names) -> Any:
        pixels, labels = part
        images = Images(pixels, labels, preparation, augment=augment, white=white, names=names)
        if augment or not isinstance(pixels, Tensor) or 4 * pixels.numel() > PREPARED_BYTES:
            return images
        return Dataset(preparation(pixels, white), images.y, names=names)

    train_ds = dataset(train, augment, names[0])
    loaders = get_dls(
        train_ds,
        train_ds if valid is train and not augment else dataset(valid, None, names[1]),
        batch_size,
        drop_last=drop_last,
        seed=seed,
        num_workers=num_workers,
    )
    return DataBunch(*loaders, c=len(preparation.classes), preparation=preparation)


def pixel_bunch(
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    classes: Sequence[str],
    batch_size: int,
    *,
    size: Any = None,
    normalize: Any = False,
    flat: bool = False,
    preparation: Any = None,
    white: int = 255,
    **options: Any,
) -> DataBunch:
    """`image_bunch` for pixels of one size in memory, with their preparation worked out.

    Args:
        train: uint8 ``(n, channels, height, width)`` and labels, to train on.
        valid: the same to validate on.
        classes: the names of the labels.
        batch_size: of training.
        size: height and width to bring the images to; None keeps theirs.
        normalize: whether mean and standard deviation of ``train`` are taken out; or a pair
            ``(mean, std)`` that is, as for `lehr.data.image_folder`.
        flat: whether inputs have one dimension.
        preparation: of an earlier run; decides size, scale and flatness instead.
        white: the number of a white pixel.
        **options: for `image_bunch`.

    Raises:
        ValueError: ``preparation`` is of other classes or another size, or a number is wrong.
        TypeError: ``preparation`` is none of images.

    Example:
        >>> part = torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6) % 2
        >>> pixel_bunch(part, part, ["a", "b"], 2, size=3, flat=True).train_ds.x.shape
        torch.Size([6, 9])
    """
    check_default_device("loaded")
    (x, y), (valid_x, valid_y) = train, valid
    scale = given_scale(normalize)
    if preparation is None:
        mode = "L" if x.shape[1] == 1 else "RGB"
        wanted = (x.shape[2], x.shape[3]) if size is None else image_size("size", size)
        form = ImagePreparation(tuple(classes), mode, wanted, flat=flat)
        form = form if scale is None else on_scale(form, scale)
    else:
        form = given_preparation(preparation, size)
        y, valid_y = relabel(y, classes, form), relabel(valid_y, classes, form)
    (x, now_white), (valid_x, _) = fitted(x, form, white), fitted(valid_x, form, white)
    if preparation is None and normalize and scale is None:
        form = scaled(form, x, now_white)
    parts = (x, y), (valid_x, valid_y)
    return image_bunch(*parts, form, batch_size, white=now_white, **options)


def scaled(preparation: ImagePreparation, pixels: Tensor, white: int = 255) -> ImagePreparation:
    """The same preparation with the mean and standard deviation of these pixels."""
    mean, std = statistics(pixels, white)
    return replace(preparation, mean=mean, std=std)


def on_scale(
    preparation: ImagePreparation, scale: tuple[tuple[float, ...], tuple[float, ...]]
) -> ImagePreparation:
    """The same preparation with this mean and standard deviation, and as many channels.

    Example:
        >>> on_scale(ImagePreparation(("a",), "L", (8, 8)), ((0.5,) * 3, (0.2,) * 3)).mode
        'RGB'
    """
    mean, std = scale
    mode = next(mode for mode, channels in MODES.items() if channels == len(mean))
    return replace(preparation, mode=mode, mean=mean, std=std)


def fitted(pixels: Tensor, preparation: ImagePreparation, white: int) -> tuple[Tensor, int]:
    """Pixels in the mode and size of the preparation, and what white is in them then.

    Each image goes the way that files go in training and prediction.

    Example:
        >>> pixels = torch.full((1, 1, 4, 4), 16, dtype=torch.uint8)
        >>> fitted(pixels, ImagePreparation(("a",), "RGB", (1, 2)), white=16)[0].tolist()
        [[[[255, 255]], [[255, 255]], [[255, 255]]]]
    """
    if tuple(pixels.shape[1:]) == (preparation.channels, *preparation.size):
        return pixels, white
    full = (pixels.float() * (255 / white)).round().to(torch.uint8) if white != 255 else pixels
    images = (to_image(one).convert(preparation.mode) for one in full)
    fits = [to_tensor(fit(image, preparation.size, preparation.resize)) for image in images]
    return torch.stack(fits), 255


def given_preparation(preparation: Any, size: Any = None) -> ImagePreparation:
    """The preparation of an earlier run, if it can be used.

    Raises:
        TypeError: it is none of images.
        ValueError: ``size`` says something else.

    Example:
        >>> given_preparation(ImagePreparation(("a",), "L", (8, 8)), 8).size
        (8, 8)
    """
    if not isinstance(preparation, ImagePreparation):
        raise TypeError(
            "preparation must be an ImagePreparation, for these are images; got "
            f"{type(preparation).__name__}. Give the preparation of a run on images."
        )
    if size is not None and image_size("size", size) != preparation.size:
        raise ValueError(
            f"size={size!r} is not the preparation's, which is {preparation.size}. Give one of "
            "them."
        )
    return preparation


def relabel(labels: Tensor, names: Sequence[str], preparation: ImagePreparation) -> Tensor:
    """Labels that count through ``names``, as the preparation counts its classes.

    Raises:
        ValueError: a name is no class of the preparation.

    Example:
        >>> preparation = ImagePreparation(("bird", "cat", "dog"), "L", (8, 8))
        >>> relabel(torch.tensor([0, 1, 1]), ["cat", "dog"], preparation)
        tensor([1, 2, 2])
    """
    place = {name: i for i, name in enumerate(preparation.classes)}
    if unknown := [name for name in names if name not in place]:
        raise ValueError(
            f"the data have classes that the preparation does not know: {', '.join(unknown)}. The "
            f"data have {', '.join(names)}; the preparation has {', '.join(preparation.classes)}. "
            f"{did_you_mean(unknown[0], preparation.classes)}"
        )
    return torch.tensor([place[name] for name in names])[labels]

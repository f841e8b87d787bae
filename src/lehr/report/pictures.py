"""Inputs of a model as pictures or words for a reader, and pictures as files inside a page."""

import base64
import io
from typing import Any

import torch
from torch import Tensor

from lehr.base.nested import inside, tensors_in
from lehr.base.numbers import plain
from lehr.data.show import clipped, in_numbers

LARGEST = 128
"""Pictures are made smaller until neither side has more pixels."""

_MOST_LETTERS = 200  # of several inputs


def as_picture(x: Any, preparation: Any = None) -> Tensor | None:
    """One input as uint8 ``(height, width, 3)``, at most 128 pixels a side.

    Args:
        x: one prepared input; or several in a container, of which the first image is shown.
        preparation: knows how to undo what was done to one input
            (`lehr.data.preparation.Preparation`); without one, and of several,
            ``(1 or 3, height, width)`` is shown on the scale of its own values.

    Returns:
        None if it is no image.

    Example:
        >>> as_picture(torch.tensor([[[0.0, 0.5, 1.0]]]))[0, :, 0]
        tensor([  0, 128, 255], dtype=torch.uint8)
        >>> as_picture(torch.zeros(64)) is None
        True
    """
    if inside(x) is not None:
        pictures = map(as_picture, tensors_in(x))
        return next((picture for picture in pictures if picture is not None), None)
    if preparation is not None:
        picture = preparation.picture(x)
        return None if picture is None else _smaller(picture)
    if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[0] not in (1, 3) or 0 in x.shape:
        return None
    x = x.double().nan_to_num(0.0, 0.0, 0.0)
    low, high = x.min(), x.max()
    scaled = (x - low) / (high - low) if high > low else torch.zeros_like(x)
    pixels = (scaled * 255).round().to(torch.uint8).expand(3, -1, -1)
    return _smaller(pixels.permute(1, 2, 0))


def in_words(x: Any, preparation: Any = None) -> str:
    """One input in a few words or numbers; of several in a container, each in its own.

    Example:
        >>> in_words(torch.tensor([0.5, 2.0]))
        '0.5, 2'
        >>> in_words({"ids": torch.arange(3), "mask": torch.ones(2)})
        'ids 0 1 2; mask 1 1'
    """
    if inside(x) is not None:
        return clipped(in_numbers(x), _MOST_LETTERS)
    if preparation is not None:
        return str(preparation.in_words(x))
    if not isinstance(x, Tensor):
        return in_numbers(x)
    values = x.flatten()
    numbers = ", ".join(plain(value.item(), 3) for value in values[:8])
    return numbers if len(values) <= 8 else f"{numbers}, … ({len(values)} numbers)"


def data_uri(picture: Tensor) -> str:
    """A picture as a PNG inside a ``data:`` address, so that a page needs no second file.

    Args:
        picture: uint8 ``(height, width, 3)``.

    Example:
        >>> data_uri(torch.zeros(2, 2, 3, dtype=torch.uint8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture.contiguous().numpy()).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _smaller(picture: Tensor) -> Tensor:
    import numpy as np
    from PIL import Image

    height, width = picture.shape[:2]
    if max(height, width) <= LARGEST:
        return picture.contiguous()
    scale = LARGEST / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    image = Image.fromarray(picture.contiguous().numpy()).resize(size, Image.Resampling.BOX)
    return torch.from_numpy(np.array(image))

"""Rectangles of images that are filled with something else; on whole batches, on any device."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lehr.base.sending import sent


class Boxes(NamedTuple):
    """A rectangle for each image, in whole pixels, each ``(n,)``; it may reach beyond the image."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def erased(images: Tensor, boxes: Boxes, fill: Tensor | float = 0) -> Tensor:
    """Each image with its rectangle filled.

    Args:
        images: ``(n, channels, height, width)``, of any type.
        boxes: what is filled; a height or width of 0 leaves the image as it is.
        fill: a number, or values on their device that broadcast to the shape of ``images``.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> one, two = torch.tensor([1]), torch.tensor([2])
        >>> erased(torch.ones(1, 1, 2, 3), Boxes(one, one, two, two))[0, 0]
        tensor([[1., 1., 1.],
                [1., 0., 0.]])
    """
    device = images.device
    top, left, height, width = (sent(side, device)[:, None, None, None] for side in boxes)
    rows = torch.arange(images.shape[2], device=device)[:, None]
    columns = torch.arange(images.shape[3], device=device)
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    if isinstance(fill, Tensor):
        return torch.where(inside, fill.to(images.dtype), images)
    return images.masked_fill(inside, fill)  # inside: (n, 1, height, width)


def squares(centres: Tensor, side: Tensor, size: Sequence[int]) -> Boxes:
    """Squares around places of an image, of which a part may lie outside.

    Args:
        centres: how far down and how far right, as shares from 0 to 1, ``(2, n)``.
        side: whole pixels, ``(n,)``.
        size: height and width of the images.

    Example:
        >>> squares(torch.tensor([[0.0], [0.5]]), torch.tensor([2]), (8, 8)).left
        tensor([3])
    """
    down, right = (centres * torch.tensor(size)[:, None]).long()  # the pixel in the middle
    return Boxes(down - side // 2, right - side // 2, side, side)


def rectangles(draws: Tensor, area: Tensor, aspect: float, size: Sequence[int]) -> Boxes:
    r"""Rectangles inside an image, of given areas, of any aspect and at any place.

    The logarithm of height over width is uniform between those of ``aspect`` and ``1 / aspect``, as
    far as such a rectangle fits into the image. Sides are rounded to whole pixels, at least one.

    Args:
        draws: uniform from 0 to 1, ``(3, n)``: for aspect, place from above, and from the left.
        area: shares of the image from 0 to 1, ``(n,)``.
        aspect: the lowest height over width, above 0 and at most 1.
        size: height and width of the images.

    Example:
        >>> draws, area = torch.tensor([[0.5], [0.0], [0.99]]), torch.tensor([0.25])
        >>> [side.item() for side in rectangles(draws, area, 0.3, (8, 8))]
        [0, 4, 4, 4]
    """
    height, width = size
    pixels = area.clamp(min=1 / (height * width)) * height * width
    low = (pixels / width**2).clamp(min=aspect)  # lower ones are wider than the image
    high = (height**2 / pixels).clamp(max=1 / aspect)
    low, high = torch.minimum(low, height**2 / pixels), torch.maximum(high, pixels / width**2)
    ratio = low * (high / low) ** draws[0]
    sides = (pixels * ratio).sqrt(), (pixels / ratio).sqrt()
    tall = sides[0].round().long().clamp(1, height)
    wide = sides[1].round().long().clamp(1, width)
    top, left = draws[1] * (height + 1 - tall), draws[2] * (width + 1 - wide)
    return Boxes(top.long(), left.long(), tall, wide)

"""Images that are turned, enlarged and moved, each in its own way; on whole batches, on any device.

How far each image goes is said by numbers on the CPU, so that no device is waited for.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lehr.base.sending import sent

Padding = Literal["border", "reflection", "zeros"]
"""What is where nothing was: the nearest edge, the image mirrored at its edge, or zeros."""


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Those images that are chosen mirrored left to right, the others as they are.

    Args:
        images: ``(n, channels, height, width)``, of any type.
        which: bool, ``(n,)``; on the CPU, or where the images are.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> images = torch.tensor([1, 2, 3]).expand(2, 1, 1, 3)
        >>> mirrored(images, torch.tensor([True, False]))[:, 0, 0].tolist()
        [[3, 2, 1], [1, 2, 3]]
    """
    if not which.is_cpu:  # to count them would be to wait for the device
        return torch.where(which[:, None, None, None], images.flip(-1), images)
    places = sent(which.nonzero()[:, 0], images.device)
    return images.index_copy(0, places, images[places].flip(-1))


def warped(
    images: Tensor,
    *,
    angle: Tensor,
    zoom: Tensor,
    down: Tensor,
    right: Tensor,
    padding: Padding = "border",
    nearest: bool = False,
) -> Tensor:
    """Each image turned and enlarged about its centre, then moved; read from the images once.

    An image that is neither turned nor enlarged keeps its very pixels.

    Args:
        images: ``(n, channels, height, width)``, of any type.
        angle: radians, against the clock, ``(n,)``, on the CPU.
        zoom: a factor; above 1 enlarges, ``(n,)``, on the CPU.
        down: whole pixels, ``(n,)``, on the CPU; below 0 is up.
        right: whole pixels, ``(n,)``, on the CPU; below 0 is left.
        padding: what is where nothing was.
        nearest: take the nearest pixel, as class numbers need it; else pixels are interpolated.

    Returns:
        A tensor of the same shape and type; ``images`` itself if none of them changes.

    Example:
        >>> image, none = torch.tensor([[[[1, 2], [3, 4]]]]), torch.zeros(1)
        >>> quarter = torch.tensor([torch.pi / 2])
        >>> warped(image, angle=quarter, zoom=none + 1, down=none, right=none)[0, 0].tolist()
        [[2, 4], [1, 3]]
    """
    between = ((angle != 0) | (zoom != 1)).nonzero()[:, 0]
    if not len(between):
        return moved(images, down, right, padding) if (down.any() or right.any()) else images
    if len(between) == len(images):
        return _sampled(images, angle, zoom, down, right, padding, nearest)
    out = moved(images, down, right, padding)
    angle, zoom, down, right = (numbers[between] for numbers in (angle, zoom, down, right))
    places = sent(between, images.device)
    out[places] = _sampled(images[places], angle, zoom, down, right, padding, nearest)
    return out


def moved(images: Tensor, down: Tensor, right: Tensor, padding: Padding = "border") -> Tensor:
    """Each image moved by whole pixels.

    Args:
        images: ``(n, channels, height, width)``, of any type.
        down: whole pixels, ``(n,)``; below 0 is up.
        right: whole pixels, ``(n,)``; below 0 is left.
        padding: what is where nothing was.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> image, none, two = torch.tensor([[[[1, 2, 3]]]]), torch.tensor([0]), torch.tensor([2])
        >>> [moved(image, none, two, p).flatten().tolist() for p in ("border", "reflection")]
        [[1, 1, 1], [2, 1, 1]]
    """
    n, channels, height, width = images.shape
    rows, row_is_there = _read(height, sent(down, images.device), padding)
    columns, column_is_there = _read(width, sent(right, images.device), padding)
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (n, height * width)
    places = places[:, None].expand(n, channels, height * width)
    out = images.flatten(2).gather(2, places).view(n, channels, height, width)
    if padding != "zeros":
        return out
    return out.masked_fill_(~(row_is_there[:, None, :, None] & column_is_there[:, None, None]), 0)


def _read(side: int, distance: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
    """From where each pixel of a side is read, and whether that is in the image: ``(n, side)``."""
    wanted = torch.arange(side, device=distance.device) - distance.long()[:, None]
    if padding == "reflection":  # … 1 0 | 0 1 2 | 2 1 …
        there = wanted.remainder(2 * side)
        return torch.minimum(there, 2 * side - 1 - there), wanted
    return wanted.clamp(0, side - 1), (wanted >= 0) & (wanted < side)


def _sampled(
    images: Tensor,
    angle: Tensor,
    zoom: Tensor,
    down: Tensor,
    right: Tensor,
    padding: Padding,
    nearest: bool,
) -> Tensor:
    """Each image read through an affine map from places in the new image to places in the old."""
    n, _, height, width = images.shape
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    x = (sin * down - cos * right) * 2 / width
    y = (-sin * right - cos * down) * 2 / height
    rows = (cos, -sin * height / width, x, sin * width / height, cos, y)
    real = images if images.dtype in (torch.float32, torch.float64) else images.float()
    maps = torch.stack(rows, 1).view(n, 2, 3).to(real.dtype)
    grid = F.affine_grid(sent(maps, images.device), list(images.shape), align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    out = F.grid_sample(real, grid, mode, padding_mode=padding, align_corners=False)
    return out.to(images.dtype) if images.is_floating_point() else out.round_().to(images.dtype)

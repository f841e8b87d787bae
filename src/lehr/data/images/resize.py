"""Whole batches of images in another size, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(images: Tensor, size: tuple[int, int], *, nearest: bool = False) -> Tensor:
    """The images in another size; where they are made smaller, pixels are averaged.

    Args:
        images: ``(n, channels, height, width)``, of any type.
        size: the new height and width.
        nearest: take the nearest pixel, as class numbers need it.

    Returns:
        ``(n, channels, *size)``, of the same type; ``images`` itself if they have that size.

    Example:
        >>> resized(torch.tensor([[[[0, 0, 2, 2], [4, 4, 6, 6]]]]), (2, 2)).tolist()
        [[[[0, 2], [4, 6]]]]
    """
    if tuple(images.shape[2:]) == size:
        return images
    real = images if images.dtype in (torch.float32, torch.float64) else images.float()
    if nearest:
        return F.interpolate(real, size, mode="nearest-exact").to(images.dtype)
    out = F.interpolate(real, size, mode="bilinear", antialias=True)
    return out.to(images.dtype) if images.is_floating_point() else out.round_().to(images.dtype)

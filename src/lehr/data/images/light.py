"""Images that are made lighter or darker, flatter or harsher; on whole batches, on any device."""

from torch import Tensor

from lehr.base.sending import sent

WHITE = 255
"""A white pixel of whole numbers; one of real numbers is 1."""


def lit(images: Tensor, *, brightness: Tensor, contrast: Tensor) -> Tensor:
    r"""Each image with another brightness and contrast: :math:`(x - \bar x)\,c + \bar x + b`.

    Real numbers are not bounded, so normalised images will do. Whole numbers are rounded, and
    bounded by 0 and 255.

    Args:
        images: ``(n, channels, height, width)``.
        brightness: b, what is added, in shares of white, ``(n,)``; 0 leaves it.
        contrast: c, the factor of the distance from the image's mean, ``(n,)``; 1 leaves it.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> import torch
        >>> one = torch.ones(1)
        >>> lit(torch.tensor([[[[0.2, 0.4]]]]), brightness=one, contrast=2 * one)
        tensor([[[[1.1000, 1.5000]]]])
    """
    real = images if images.is_floating_point() else images.float()
    white = 1 if images.is_floating_point() else WHITE
    factor, more = (
        sent(numbers, real.device, real.dtype)[:, None, None, None]
        for numbers in (contrast, brightness * white)
    )
    mean = real.mean((1, 2, 3), keepdim=True)
    out = real * factor + (mean * (1 - factor) + more)
    return out if images.is_floating_point() else out.round_().clamp_(0, WHITE).to(images.dtype)

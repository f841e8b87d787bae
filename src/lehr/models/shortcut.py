"""The way around the body of a residual block."""

from torch import nn


def shortcut(*projection: nn.Module, halve: bool) -> nn.Sequential:
    """What leads an image around the layers of a block.

    Args:
        *projection: brings it to as many channels as the body makes; none if it has them.
        halve: bring it to half of its height and width, rounded up, by means of four pixels.

    Example:
        >>> import torch
        >>> shortcut(halve=True)(torch.ones(1, 2, 7, 7)).shape
        torch.Size([1, 2, 4, 4])
    """
    pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(*[pool] * halve, *projection)

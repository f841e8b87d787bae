"""Light random changes to images that leave their class as it is; on whole batches of pixels."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lehr.data.images.warp import mirrored, moved, warped
from lehr.errors import did_you_mean

Augmentation = Callable[[Tensor], Tensor]
"""uint8 ``(n, channels, height, width)`` -> the same, changed at random."""


def flip(batch: Tensor, generator: Generator | None = None) -> Tensor:
    """Each image mirrored left to right, or not, with equal chance.

    Args:
        batch: ``(n, channels, height, width)``, of any type.
        generator: draws from this one; by default from torch's own.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> batch = torch.tensor([[[[1, 2, 3]]]]).repeat(4, 1, 1, 1)
        >>> flip(batch, torch.Generator().manual_seed(0))[:, 0, 0].tolist()
        [[3, 2, 1], [1, 2, 3], [3, 2, 1], [3, 2, 1]]
    """
    return mirrored(batch, torch.rand(len(batch), generator=generator) < 0.5)


def shift(batch: Tensor, generator: Generator | None = None) -> Tensor:
    """Each image moved by up to an eighth of its height and width, by whole pixels.

    The edge is repeated where nothing was. Every distance has the same chance; images below 8
    pixels stay where they are.

    Args:
        batch: ``(n, channels, height, width)``, of any type.
        generator: draws from this one; by default from torch's own.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> batch = torch.arange(8).expand(3, 1, 1, 8)
        >>> shift(batch, torch.Generator().manual_seed(0))[:, 0, 0].tolist()
        [[0, 0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 2, 3, 4, 5, 6]]
    """

    def distance(side: int) -> Tensor:
        most = side // 8
        return torch.randint(-most, most + 1, (len(batch),), generator=generator)

    height, width = batch.shape[2:]
    return moved(batch, -distance(height), -distance(width))


def rotate(batch: Tensor, generator: Generator | None = None) -> Tensor:
    """Each image turned about its centre by up to 15 degrees either way, every angle as likely.

    Pixels in between are interpolated; the edge is repeated where nothing was.

    Args:
        batch: ``(n, channels, height, width)``, uint8.
        generator: draws from this one; by default from torch's own.

    Returns:
        A new tensor of the same shape and type.

    Example:
        >>> rotate(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)).unique().tolist()
        [7]
    """
    n = len(batch)
    if n == 0:
        return batch.clone()
    angle = (torch.rand(n, generator=generator) * 2 - 1) * math.radians(15)
    stays = torch.zeros(n)
    return warped(batch, angle=angle, zoom=stays + 1, down=stays, right=stays)


AUGMENTATIONS: dict[str, Augmentation] = {"flip": flip, "shift": shift, "rotate": rotate}
"""What can be asked for by name."""


def parse_augment(text: str | None) -> tuple[Augmentation, ...]:
    """The augmentations that a text such as ``"flip+shift"`` names, in its order; None is none.

    Raises:
        TypeError: it is no text.
        ValueError: it names something else, or the same one twice.

    Example:
        >>> parse_augment("flip + shift") == (flip, shift), parse_augment(None)
        (True, ())
    """
    if text is None:
        return ()
    if not isinstance(text, str):
        raise TypeError(
            f"augment must be text or None; got {text!r}. Give e.g. augment='flip+shift'."
        )
    names = [name.strip() for name in text.split("+")]
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"augment must name augmentations, joined by +; got {text!r}, and there is no "
                f"{name!r}. {did_you_mean(name, AUGMENTATIONS)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"augment must name each once; got {text!r}. Leave out one {name}.")
    return tuple(AUGMENTATIONS[name] for name in names)

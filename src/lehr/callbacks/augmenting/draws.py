"""What is drawn for a batch of images: for each image, and for each change, numbers of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Draw(NamedTuple):
    """What is drawn for one change of each image."""

    luck: Tensor
    """uniform from 0 to 1, ``(n,)``"""
    ways: Tensor
    """two ways to go, uniform from -1 to 1, ``(2, n)``; 0 where the change is left out"""
    happens: Tensor
    """whether the image is changed, ``(n,)``"""


def drawn(names: Sequence[str], n: int, p: float, generator: Generator) -> dict[str, Draw]:
    """What is drawn for each change; what one is given does not depend on which others are used.

    Args:
        names: of all changes.
        n: the number of images.
        p: the chance that a change happens to an image.
        generator: the source, on the CPU.

    Example:
        >>> draws = drawn(["turn", "move"], 3, 1.0, Generator().manual_seed(0))
        >>> draws["move"].luck.shape, draws["move"].ways.shape
        (torch.Size([3]), torch.Size([2, 3]))
    """
    luck, *ways = torch.rand(3, len(names), n, generator=generator)
    happens = luck < p
    both = torch.where(happens, torch.stack(ways) * 2 - 1, 0)  # (2, changes, n)
    return {name: Draw(luck[i], both[:, i], happens[i]) for i, name in enumerate(names)}


def whole(way: Tensor, most: int) -> Tensor:
    """Whole numbers from ``-most`` to ``most``, each as likely, of what is uniform from -1 to 1.

    Example:
        >>> whole(torch.tensor([-1.0, -0.4, 0.0, 0.1, 0.9]), 1).tolist()
        [-1.0, -1.0, 0.0, 0.0, 1.0]
    """
    return (way * (most + 0.5)).round().clamp(-most, most)


def coins(images: Tensor, key: int) -> Tensor:
    """A coin for each image, which depends on its pixels alone, not on its place in the batch.

    It is one bit of the sum of the pixels' bits times random factors, one for each place, which is
    mixed once more.

    Args:
        images: ``(n, channels, height, width)``, of any type.
        key: another one throws other coins; 64 bits.

    Returns:
        bool, ``(n,)``, on the device of the images.

    Example:
        >>> images = torch.arange(64).view(8, 1, 2, 4)
        >>> coins(images, 1).equal(coins(images.flip(0), 1).flip(0))
        True

    Reference:
        Dietzfelbinger 1996, "Universal hashing and k-wise independent random variables via integer
        arithmetic without primes", STACS. The factors are those of `lehr.state.streams.mix`.
    """
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = images.view(whole[images.element_size()]).flatten(1).long()
    factors = _mixed(torch.arange(bits.shape[1], device=bits.device) + _signed(key))
    return _mixed((bits * factors).sum(1)) < 0


def _mixed(x: Tensor) -> Tensor:
    """Random bits that depend on those of a whole number, for each; what is too much is lost."""
    x = (x ^ x >> 30 & 2**34 - 1) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ x >> 27 & 2**37 - 1) * _signed(0x94D049BB133111EB)
    return x ^ x >> 31 & 2**33 - 1


def _signed(key: int) -> int:
    """The same 64 bits, as torch has them."""
    return (key + 2**63) % 2**64 - 2**63

"""Orders of so many items that a list of them would fill the memory."""

from typing import Final

import torch
from torch import Tensor

from lehr.state.streams import mix, shuffled

MANY: Final = 1 << 22
"""From so many items on, an order is computed part by part: a list of them would take 34 MB"""

_ROUNDS = 8
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # the multipliers of splitmix64


class Permuted:
    """A permutation of ``range(n)`` that belongs to a key; any part of it, without the rest.

    A Feistel network permutes the numbers of as many bits as ``n - 1`` has: of the two halves of a
    number, one is changed by a function of the other, eight times in turn. What comes out above
    ``n`` is sent through again, until it is below; that is less than once on average.

    Args:
        n: how many; at least 1, below 2^62.
        key: any integer.

    Example:
        >>> order = Permuted(5, key=1)
        >>> sorted(order[0:5].tolist()), torch.equal(order[0:5][2:4], order[2:4])
        ([0, 1, 2, 3, 4], True)

    Reference:
        Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, methods 2 and 3;
        the function of a round is that of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
    """

    def __init__(self, n: int, key: int) -> None:
        self.n = n
        bits = max(2, (n - 1).bit_length())
        self._halves = bits // 2, bits - bits // 2
        self._keys = [_signed(mix(key, number)) for number in range(_ROUNDS)]

    def __getitem__(self, part: slice) -> Tensor:
        """The items at these places, int64."""
        start, stop, _ = part.indices(self.n)
        items = self._permuted(torch.arange(start, stop))
        while len(outside := (items >= self.n).nonzero().flatten()):
            items[outside] = self._permuted(items[outside])
        return items

    def _permuted(self, numbers: Tensor) -> Tensor:
        high, low = self._halves  # bits of the left and of the right half
        left, right = numbers >> low, numbers & ((1 << low) - 1)
        for key in self._keys:
            mixed = (right ^ key) * _signed(_FIRST)
            mixed = (mixed ^ (mixed >> 32 & 0xFFFFFFFF)) * _signed(_SECOND)
            left, right = right, left ^ (mixed >> (64 - high) & ((1 << high) - 1))
            high, low = low, high
        return left << low | right


class Counted:
    """The order of ``range(n)``, part by part.

    Example:
        >>> Counted(5)[3:9].tolist()
        [3, 4]
    """

    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, part: slice) -> Tensor:
        """The items at these places, int64."""
        start, stop, _ = part.indices(self.n)
        return torch.arange(start, stop)


Order = Tensor | Permuted | Counted
"""What items an epoch has in which order: its slices are tensors."""


def order_of(n: int, key: int | None) -> Order:
    """The order of ``n`` items, shuffled by a key, or as they are.

    Args:
        n: how many.
        key: of the permutation; None for none.

    Example:
        >>> order_of(3, None).tolist(), type(order_of(MANY, 1)).__name__
        ([0, 1, 2], 'Permuted')
    """
    if n >= MANY:
        return Counted(n) if key is None else Permuted(n, key)
    return torch.arange(n) if key is None else shuffled(n, key)


def _signed(number: int) -> int:
    """The 64 bits of a number, as torch's int64 has them."""
    return number - (1 << 64) if number >= 1 << 63 else number

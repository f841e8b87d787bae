"""What decides the order: our sampler, or a foreign one made seekable."""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lehr.data.loading.sampler import Sampler, check_start, count_batches, cut
from lehr.errors import positive_int
from lehr.state.streams import Streams, forked
from lehr.types import is_seekable


class ForeignOrder:
    """Index batches from any sized, re-iterable object of indices, such as torch's samplers.

    It is read once an epoch, in full, with the global generators keyed by (seed, epoch) and put
    back afterwards; ``set_epoch`` is called first where there is one. A sampler that was given a
    generator of its own draws from that, so its order is its own affair.

    Args:
        indices: yields ints; has a length.
        batch_size: items in a batch.
        drop_last: leave out a last batch that is not full.

    Raises:
        TypeError: it is no iterable, can be read only once, has no length, or yields no ints.

    Example:
        >>> [batch.tolist() for batch in ForeignOrder([7, 1, 4], 2).batches(seed=0, epoch=0)]
        [[7, 1], [4]]
    """

    def __init__(self, indices: Any, batch_size: int, *, drop_last: bool = False) -> None:
        kind = type(indices).__name__
        if not hasattr(indices, "__iter__"):
            raise TypeError(
                f"sampler must be an iterable of indices; got {kind}. "
                "Give a lehr.data.Sampler, a list of ints or a sampler of torch.utils.data."
            )
        if hasattr(indices, "__next__"):
            raise TypeError(
                f"sampler must be readable once an epoch; got {kind}, which can be read only once. "
                "Give a list, or an object whose __iter__ starts over."
            )
        if not hasattr(indices, "__len__"):
            raise TypeError(
                f"sampler must have a length; got {kind}, which has no __len__. "
                "Add one, or pass an iterable of batches to DataBunch directly."
            )
        self.indices = indices
        self.batch_size = positive_int("batch_size", batch_size)
        self.drop_last = drop_last

    def __len__(self) -> int:
        return count_batches(len(self.indices), self.batch_size, self.drop_last)

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The index batches of an epoch from number ``start`` on; each item one int64 tensor.

        Raises:
            ValueError: ``start`` is beyond the end, or the sampler's length is not what it says.
            TypeError: the sampler yields something else than ints.
        """
        check_start(start, len(self))
        with forked(Streams(seed).key("order", epoch)):
            if hasattr(self.indices, "set_epoch"):
                self.indices.set_epoch(epoch)
            indices = list(self.indices)
        if len(indices) != len(self.indices):
            raise ValueError(
                f"sampler must yield as many indices as its length says; it says "
                f"{len(self.indices)} and yields {len(indices)}. Correct its __len__."
            )
        order = torch.tensor([_index(i) for i in indices])
        return cut(order, self.batch_size, range(start, len(self)))


def _index(i: Any) -> int:
    if isinstance(i, bool) or getattr(i, "dtype", None) == torch.bool:  # which Python has as 0 or 1
        raise TypeError(
            f"sampler must yield one int an item; got {i!r}, as of a mask. Give the indices, "
            "mask.nonzero().flatten().tolist()."
        )
    try:
        return operator.index(i)
    except TypeError as error:
        raise TypeError(
            f"sampler must yield one int an item; got {i!r}. Give a sampler of single "
            "indices; batch_size= makes the batches."
        ) from error


def decide_order(
    dataset: Any, batch_size: int | None, shuffle: bool, drop_last: bool, sampler: Any
) -> Any:
    """The index batches that a loader's arguments ask for; refuses those that contradict."""
    if sampler is None:
        size = 64 if batch_size is None else batch_size
        return Sampler(dataset, size, shuffle=shuffle, drop_last=drop_last)
    if shuffle:
        raise ValueError(
            f"shuffle=True and sampler={type(sampler).__name__} both decide the order. Give one; "
            "Sampler(dataset, batch_size, shuffle=True) shuffles by itself."
        )
    if not is_seekable(sampler):
        return ForeignOrder(sampler, 64 if batch_size is None else batch_size, drop_last=drop_last)
    own_size = getattr(sampler, "batch_size", None)
    if batch_size not in (None, own_size):
        raise ValueError(
            f"batch_size={batch_size} is not the sampler's, which is {own_size}. "
            "Give it to the sampler alone."
        )
    if drop_last and not getattr(sampler, "drop_last", False):
        raise ValueError(
            "drop_last=True is for the sampler to decide, and it keeps the last batch. "
            "Give drop_last=True to the sampler."
        )
    return sampler

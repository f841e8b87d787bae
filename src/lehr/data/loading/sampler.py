"""Which items make up which batch: a function of (seed, epoch, batch number)."""

from collections.abc import Iterator, Sized
from typing import Any, cast

from torch import Tensor

from lehr.data.loading.permuted import Order, order_of
from lehr.errors import positive_int
from lehr.state.streams import Streams, check_seed, draw_seed

_SLICES = 1024


def count_batches(n: int, batch_size: int, drop_last: bool) -> int:
    """How many batches ``n`` items make.

    Example:
        >>> count_batches(10, 3, drop_last=False), count_batches(10, 3, drop_last=True)
        (4, 3)
    """
    return n // batch_size if drop_last else -(-n // batch_size)


def check_start(start: int, n_batches: int) -> None:
    """Refuse a first batch that the epoch does not have; ``n_batches`` itself means "none left".

    Raises:
        ValueError: ``start`` is negative or beyond the end.
    """
    if not 0 <= start <= n_batches:
        raise ValueError(
            f"start must be in 0 to {n_batches}, the number of batches; got {start}. "
            "Is this another data set or batch size than the one that was stopped?"
        )


def cut(order: Order, batch_size: int, numbers: range) -> Iterator[Tensor]:
    """The index batches with these numbers, each a slice of ``order``.

    Slices are made a thousand at a time, which is cheaper than one by one.
    """
    for first in range(numbers.start, numbers.stop, _SLICES):
        end = min(first + _SLICES, numbers.stop)
        yield from cast("Any", order[first * batch_size : end * batch_size]).split(batch_size)


class Sampler:
    """Yields the indices of each batch; shuffled anew in every pass if asked to.

    Of 2^22 items or more, the order is never held in memory: see `lehr.data.loading.permuted`.

    Args:
        source: the data set, or its number of items. A data set is asked for its length at the
            beginning of every pass: it may have grown or shrunk.
        batch_size: items in a batch.
        shuffle: a new permutation for every epoch.
        drop_last: leave out a last batch that is not full.
        seed: decides the order, instead of the caller's seed. By default the caller's seed does;
            plain iteration draws one (see `lehr.state.streams.draw_seed`).

    Raises:
        ValueError: the source is empty, or ``batch_size`` is below 1.
        TypeError: ``batch_size`` or ``seed`` is no int.

    Example:
        >>> import torch
        >>> [batch.tolist() for batch in Sampler(10, 3)]
        [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
        >>> sampler = Sampler(10, 3, shuffle=True, seed=1)
        >>> first, second = torch.cat(list(sampler)), torch.cat(list(sampler))
        >>> sorted(first.tolist()) == list(range(10)), bool((first == second).all())
        (True, False)
    """

    def __init__(
        self,
        source: Sized | int,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
    ) -> None:
        self.source = source
        if self.n < 1:
            raise ValueError(
                f"source must hold at least one item; got {self.n}. Give the data set to sample."
            )
        self.batch_size = positive_int("batch_size", batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = check_seed(seed)
        self._pass_seed = seed
        self._passes = 0

    @property
    def n(self) -> int:
        """The number of items, as it is now."""
        return self.source if isinstance(self.source, int) else len(self.source)

    def __len__(self) -> int:
        return count_batches(self.n, self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[Tensor]:
        if self._pass_seed is None:
            self._pass_seed = draw_seed() if self.shuffle else 0
        self._passes += 1
        return self.batches(self._pass_seed, self._passes - 1)

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The index batches of an epoch from number ``start`` on; those before are never made.

        Args:
            seed: the training's seed; a ``seed`` given to the sampler itself wins.
            epoch: lifetime number of the epoch, from 0.
            start: number of the first batch wanted.

        Returns:
            An iterator of int64 tensors of shape ``(batch,)``.

        Raises:
            ValueError: ``start`` is beyond the end.

        Example:
            >>> [batch.tolist() for batch in Sampler(10, 3).batches(seed=0, epoch=0, start=2)]
            [[6, 7, 8], [9]]
        """
        check_start(start, len(self))
        streams = Streams(seed if self.seed is None else self.seed)
        order = order_of(self.n, streams.key("order", epoch) if self.shuffle else None)
        return cut(order, self.batch_size, range(start, len(self)))

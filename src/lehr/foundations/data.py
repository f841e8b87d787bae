"""Adds batches to learning: which items, in which order, and how they become two tensors."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from lehr.foundations.collation import collate

__all__ = ["DataLoader", "Dataset", "Sampler", "SliceLoader", "collate", "get_dls"]


class Dataset:
    """Inputs and targets, side by side; an integer, a slice or a list of integers picks both.

    Example:
        >>> Dataset(torch.arange(4) * 10, torch.arange(4))[[3, 1]]
        (tensor([30, 10]), tensor([3, 1]))
    """

    def __init__(self, x: Any, y: Any) -> None:
        if len(x) != len(y):
            raise ValueError(f"x and y must be as long; got {len(x)} and {len(y)}. Pair them up.")
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: Any) -> tuple[Any, Any]:
        return self.x[i], self.y[i]


class SliceLoader:
    """A loader, version 1: consecutive slices of the dataset; the last may be short."""

    def __init__(self, ds: Dataset, bs: int) -> None:
        self.dataset, self.bs = ds, _positive(bs)

    def __len__(self) -> int:
        return (len(self.dataset) - 1) // self.bs + 1

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(self.dataset), self.bs):
            yield self.dataset[start : start + self.bs]


class Sampler:
    """Decides the order: yields lists of indices, a new permutation each time if ``shuffle``.

    Args:
        bs: how many of the indices of ``ds`` a list has; the last may have fewer.
        shuffle: draw a new order for every pass, from ``generator`` or torch's default one.
        drop_last: leave a short last list out.

    Example:
        >>> list(Sampler(range(5), 2)), list(Sampler(range(5), 2, drop_last=True))
        ([[0, 1], [2, 3], [4]], [[0, 1], [2, 3]])
    """

    def __init__(
        self,
        ds: Any,
        bs: int,
        shuffle: bool = False,
        generator: Any = None,
        drop_last: bool = False,
    ) -> None:
        self.n, self.bs, self.drop_last = len(ds), _positive(bs), drop_last
        self.shuffle, self.generator = shuffle, generator

    def __len__(self) -> int:
        return self.n // self.bs if self.drop_last else (self.n - 1) // self.bs + 1

    def __iter__(self) -> Iterator[list[int]]:
        n = self.n
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        for i in range(len(self)):
            yield order[i * self.bs : (i + 1) * self.bs].tolist()


class DataLoader:
    """A loader, version 2: the sampler chooses items, which are fetched singly and collated.

    Args:
        ds: anything that gives an item for an index.
        sampler: yields the indices of each batch, in a list or a tensor.
        collate_fn: makes a batch of a list of items.
    """

    def __init__(self, ds: Any, sampler: Any, collate_fn: Callable[[Any], Any] = collate) -> None:
        if not hasattr(sampler, "__iter__"):
            raise TypeError(
                f"sampler must yield the indices of each batch; got {sampler!r}. For a batch size, "
                "write DataLoader(ds, Sampler(ds, 64)), or SliceLoader(ds, 64)."
            )
        self.dataset, self.sampler, self.collate_fn = ds, sampler, collate_fn

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        for chosen in self.sampler:
            indices: Any = chosen.tolist() if hasattr(chosen, "tolist") else chosen
            yield self.collate_fn([self.dataset[i] for i in indices])


def get_dls(train_ds: Any, valid_ds: Any, bs: int, **kwargs: Any) -> tuple[DataLoader, DataLoader]:
    """A shuffled training loader, whose sampler takes ``kwargs``, and one that validates.

    The latter has twice the batch size, since no gradients are kept, and drops no item.
    """
    train, valid = Sampler(train_ds, bs, shuffle=True, **kwargs), Sampler(valid_ds, 2 * bs)
    return DataLoader(train_ds, train), DataLoader(valid_ds, valid)


def _positive(bs: int) -> int:
    if bs < 1:
        raise ValueError(f"bs must be at least 1; got {bs}. Give e.g. 64.")
    return bs

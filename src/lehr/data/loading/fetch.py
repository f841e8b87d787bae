"""How the items of a batch are read: together where the data allow it, else one by one."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from lehr.base.sending import sent
from lehr.base.sharing import WHOLE, Share, without_items
from lehr.data.loading.collation import collate
from lehr.data.loading.dataset import Dataset
from lehr.state.streams import Streams, forked, seed_globals

Gather = Callable[[Tensor], Any]
"""``indices -> batch``: every item of a batch in one call."""


class Request(NamedTuple):
    """One batch to read, small enough to be sent to another process."""

    indices: list[int]
    seed: int
    epoch: int
    number: int
    share: Share = WHOLE
    """the part of the batch that is wanted"""


def defined_in(dataset: Any, name: str) -> int:
    """How far up the dataset's classes ``name`` is defined: 0 for its own class, -1 for nowhere."""
    for height, cls in enumerate(type(dataset).__mro__):
        if name in vars(cls):
            return height
    return -1


def gather_in_memory(dataset: Any) -> Gather | None:
    """The gather of a dataset of tensors as it is now: batches are a function of the indices alone.

    A dataset with a ``gather`` may say that it draws no random numbers, ``draws = False``. A
    subclass with a ``__getitem__`` of its own has none: its items are what that method says.

    Example:
        >>> gather = gather_in_memory(Subset(TensorDataset(torch.arange(10)), [5, 6, 7]))
        >>> gather(torch.tensor([2, 0]))
        (tensor([7, 5]),)
    """
    of = cast(Any, type(dataset))
    if issubclass(of, Dataset):
        plain = of.__getitem__ is Dataset.__getitem__ and of.gather is Dataset.gather
        return dataset.gather if plain else None
    if issubclass(of, TensorDataset) and of.__getitem__ is TensorDataset.__getitem__:
        tensors: tuple[Tensor, ...] = dataset.tensors
        return lambda indices: tuple(t.index_select(0, sent(indices, t.device)) for t in tensors)
    if getattr(dataset, "draws", True) is False:
        heights = [defined_in(dataset, name) for name in ("draws", "gather", "__getitem__")]
        # Whoever wrote a gather or a __getitem__ later has not said that it draws nothing.
        return dataset.gather if heights == sorted(heights) and heights[0] >= 0 else None
    if of is Subset and (inner := gather_in_memory(dataset.dataset)) is not None:
        chosen = places(dataset.indices, len(dataset.dataset), "a Subset's indices")
        return lambda indices: inner(chosen[indices])
    return None


def places(indices: Any, n: int, what: str) -> Tensor:
    """Indices into ``n`` items as int64, from 0 on: -1 is the last, as where items are indexed.

    Args:
        indices: a tensor, an array, or any ints.
        n: how many items there are.
        what: is what messages call them.

    Raises:
        TypeError: they are no whole numbers.
        IndexError: there is no such item.

    Example:
        >>> places([0, -1], 5, "the sampler's indices")
        tensor([0, 4])
    """
    many = indices if hasattr(indices, "__array__") else list(indices)
    found = torch.as_tensor(many) if len(many) else torch.empty(0, dtype=torch.int64)
    if found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
        todo = "Give mask.nonzero() of a mask." if found.dtype == torch.bool else "Round them."
        raise TypeError(f"{what} must be whole numbers; got {found.dtype}. {todo}")
    found = found.to("cpu", torch.int64, copy=True)
    outside = found[(found < -n) | (found >= n)]
    if len(outside):
        raise IndexError(
            f"{what} must be from 0 to {n - 1}, or from -{n} to -1 to count from the end; got "
            f"{int(outside[0])}. Were they made for another data set?"
        )
    return torch.where(found < 0, found + n, found)


class Fetch:
    """Reads batches; the same code here and in a worker process, so the same bits.

    Reading that may be random (a dataset that augments) happens with the global generators keyed by
    (seed, epoch, batch) and put back afterwards, or by (seed, epoch, batch, rank) for the share of
    a process other than the first: a batch does not depend on the batches before it,
    on the number of workers, nor on what the training drew. With ``item_seeds`` they are keyed by
    (seed, epoch, index) before each item, so that an item does not depend on its batch either.

    Args:
        dataset: has ``__len__`` and ``__getitem__``; perhaps ``gather``, or torch's
            ``__getitems__``.
        collate_fn: list of items -> batch; None for `collate`, or for gather where there is one.
        item_seeds: see above.
    """

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        item_seeds: bool = False,
    ) -> None:
        self.dataset = dataset
        self.collate_fn = collate_fn or collate
        self.item_seeds = item_seeds
        together = collate_fn is None and not item_seeds
        height = defined_in(dataset, "gather")
        # A __getitem__ written later than gather is the newer word on what an item is.
        self.gathers = together and 0 <= height <= defined_in(dataset, "__getitem__")

    def __call__(self, request: Request) -> Any:
        """The batch asked for."""
        streams, (rank, _) = Streams(request.seed), request.share
        own = request.indices[request.share.of(len(request.indices))]
        apart = (rank,) if rank else ()  # another process draws other random numbers
        with forked(streams.key("items", request.epoch, request.number, *apart)):
            if self.gathers:
                return self.dataset.gather(torch.tensor(own, dtype=torch.int64))
            read = own or request.indices[:1]  # an empty share is a batch like others, emptied
            batch = self.collate_fn(self._items(request._replace(indices=read), streams))
            return batch if own else without_items(batch)

    def _items(self, request: Request, streams: Streams) -> list[Any]:
        dataset = self.dataset
        if self.item_seeds:
            items: list[Any] = []
            for index in request.indices:
                seed_globals(streams.key("item", request.epoch, index))
                items.append(dataset[index])
            return items
        if hasattr(dataset, "__getitems__"):  # torch's own protocol for reading many
            return cast(list[Any], dataset.__getitems__(request.indices))
        return [dataset[index] for index in request.indices]

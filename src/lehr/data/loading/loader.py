"""A loader whose batches depend only on seed, epoch and batch number."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset

from lehr.base.sharing import WHOLE, Share
from lehr.base.values import check_default_device
from lehr.data.loading.fetch import Fetch, Request, gather_in_memory, places
from lehr.data.loading.order import ForeignOrder, decide_order
from lehr.errors import positive_int
from lehr.state.streams import check_seed, draw_seed

if TYPE_CHECKING:
    from lehr.data.loading.workers import Workers


class DataLoader:
    """Yields the batches of a dataset, and can start at any batch of any epoch at no cost.

    Data in memory (`Dataset`, torch's ``TensorDataset`` and ``Subset`` of one) are read a batch at
    a time; so is a dataset with a ``gather(indices)`` method. All others are read item by item and
    collated. If you iterate over it yourself, every pass is the next epoch. A dataset may grow or
    shrink between two epochs: its length is asked for at the beginning of each.

    Args:
        dataset: has ``__len__`` and ``__getitem__``.
        batch_size: items in a batch; None means the sampler's, or 64.
        shuffle: a new order every epoch.
        drop_last: leave out a last batch that is not full.
        sampler: decides the order instead of ``shuffle``: a `Sampler` (or anything with
            ``batches(seed, epoch, start)`` and a length, yielding index tensors), or a sized
            iterable of single indices.
        collate_fn: list of items -> batch; read item by item then. Default: `collate`.
        seed: of order and randomness, in a fit and elsewhere; by default a fit uses its own seed.
        num_workers: processes that read ahead; the batches are the same with any number. Data in
            memory are faster without.
        item_seeds: key the global generators by (seed, epoch, index) before each item, so that
            random augmentation of an item depends neither on its batch nor on the order.

    Raises:
        TypeError: the dataset cannot be indexed or has no length, a number is no int, or
            ``collate_fn`` cannot be called.
        ValueError: the dataset is empty, a number is out of range, or ``sampler`` comes with
            ``shuffle``, or with another ``batch_size`` or ``drop_last`` than its own.

    Example:
        >>> import torch
        >>> from lehr.data import Dataset
        >>> dl = DataLoader(Dataset(torch.arange(5.0), torch.arange(5)), batch_size=2)
        >>> len(dl), [yb.tolist() for xb, yb in dl]
        (3, [[0, 1], [2, 3], [4]])
        >>> [yb.tolist() for xb, yb in dl.batches(seed=42, epoch=0, start=2)]
        [[4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = None,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        sampler: Any = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        seed: int | None = None,
        num_workers: int = 0,
        item_seeds: bool = False,
    ) -> None:
        _check_dataset(dataset)
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(
                f"collate_fn must be a function of a list of items; got {collate_fn!r}. Leave it "
                "out for lehr.data.collate."
            )
        if num_workers != 0:
            _check_workers(num_workers)
        self.dataset = dataset
        self.sampler = decide_order(dataset, batch_size, shuffle, drop_last, sampler)
        self.seed = check_seed(seed)
        self.num_workers = num_workers
        self._fetch = Fetch(dataset, collate_fn, item_seeds=item_seeds)
        self._together = collate_fn is None and not item_seeds
        gathers = self._together and gather_in_memory(dataset) is not None
        self._workers = _workers(self._fetch, num_workers) if num_workers else None
        self._needs_seed = shuffle or sampler is not None or not gathers
        self._pass_seed = seed
        self._passes = 0

    @property
    def batch_size(self) -> int | None:
        """Items in a batch, as the sampler has it; a new size holds from the next epoch on."""
        return getattr(self.sampler, "batch_size", None)

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self.sampler.batch_size = positive_int("batch_size", batch_size)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        check_default_device("read")
        if self._pass_seed is None:
            self._pass_seed = draw_seed() if self._needs_seed else 0
        self._passes += 1
        return self.batches(self._pass_seed, self._passes - 1)

    def state_dict(self) -> dict[str, int | None]:
        """How often the loader was iterated by hand, and with which seed; a fit needs neither."""
        return {"passes": self._passes, "pass_seed": self._pass_seed}

    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        """Go on from there."""
        self._passes = state_dict["passes"] or 0
        self._pass_seed = state_dict["pass_seed"]

    def batches(
        self, seed: int, epoch: int, start: int = 0, *, share: Share = WHOLE
    ) -> Iterator[Any]:
        """The batches of an epoch from number ``start`` on; those before are never read.

        Args:
            seed: the training's seed; a ``seed`` given to the loader itself wins.
            epoch: lifetime number of the epoch, from 0.
            start: number of the first batch wanted.
            share: of every batch; nothing else of it is read. A share may be empty.

        Raises:
            ValueError: ``start`` is beyond the end.
        """
        seed = seed if self.seed is None else self.seed
        chosen = self.sampler.batches(seed, epoch, start)
        gather = gather_in_memory(self.dataset) if self._together else None
        if gather is not None and isinstance(self.sampler, ForeignOrder):
            n = len(self.dataset)
            chosen = (places(indices, n, "the sampler's indices") for indices in chosen)
        if gather is not None and self._workers is None:
            whole = share.world == 1
            chosen = chosen if whole else (i[share.of(len(i))] for i in chosen)
            return (gather(indices) for indices in chosen)  # a map would end at a StopIteration
        requests = (
            Request(indices.tolist(), seed, epoch, number, share)
            for number, indices in enumerate(chosen, start)
        )
        if self._workers is not None:
            return self._workers.answers(requests)
        return (self._fetch(request) for request in requests)

    def __repr__(self) -> str:
        return f"DataLoader({len(self)} batches of {self.batch_size} from {self.dataset!r})"


def _check_dataset(dataset: Any) -> None:
    iterable_only = issubclass(type(dataset), IterableDataset)
    for method in ("__len__", "__getitem__"):
        if iterable_only or not hasattr(dataset, method):
            lacks = "can only be iterated" if iterable_only else f"has no {method}"
            raise TypeError(
                f"dataset must have __len__ and __getitem__; got {type(dataset).__name__}, which "
                f"{lacks}. Wrap it in torch.utils.data.DataLoader(dataset, batch_size=64), or pass "
                "an iterable of batches to DataBunch directly."
            )
    if len(dataset) == 0:
        raise ValueError(
            "dataset must hold at least one item; got none. Check the path or the filter it was "
            "made with."
        )


def _workers(fetch: Fetch, count: int) -> "Workers":
    from lehr.data.loading.workers import Workers  # most loaders have none

    return Workers(fetch, count)


def _check_workers(num_workers: object) -> None:
    if not isinstance(num_workers, int) or isinstance(num_workers, bool):
        raise TypeError(
            f"num_workers must be an int; got {num_workers!r}. Give 0 to read in this process."
        )
    if num_workers < 0:
        raise ValueError(
            f"num_workers must be at least 0; got {num_workers}. Give 0 to read in this process."
        )

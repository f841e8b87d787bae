"""Any iterable of batches, seen by the loop as one thing."""

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

from lehr.data.sampler import check_start
from lehr.streams import Streams, forked
from lehr.types import Batch, is_seekable


class Feed:
    """Turns a loader, whoever wrote it, into numbered epochs that know their last batch.

    Three kinds are told apart. A loader with ``batches(seed, epoch, start)`` is asked for just
    what is needed. A list of batches is sliced. Anything else is opened anew every epoch and read
    from its beginning; opening it and its first batch happen with the global generators keyed by
    (seed, epoch) and put back afterwards, for even an unshuffled torch loader draws from them.

    Args:
        loader: any re-iterable of batches, or a function that makes a fresh iterator.
        name: what messages call it.

    Raises:
        TypeError: it cannot be iterated, or only once.

    Example:
        >>> feed = Feed(lambda: iter("abc"))
        >>> feed.len_or_none, list(feed.epoch(seed=0, epoch=0))
        (None, [('a', False), ('b', False), ('c', True)])
    """

    def __init__(self, loader: Any, name: str = "loader") -> None:
        cls = cast(Any, type(loader))
        kind: str = cls.__name__
        if hasattr(cls, "__next__"):
            raise TypeError(
                f"{name} must be readable once an epoch; got {kind}, which can be read only once. "
                "Pass a function that makes a fresh one, e.g. lambda: batches()."
            )
        readable = hasattr(cls, "__iter__")
        if isinstance(loader, (Mapping, str)) or not (readable or callable(loader)):
            raise TypeError(
                f"{name} must be an iterable of batches; got {kind}. Pass a DataLoader (a dataset "
                "needs one), a list of batches, or a function that makes an iterator of them."
            )
        self.loader: Any = loader
        self.name = name
        self._calls = not readable
        self.seekable = is_seekable(loader) or isinstance(loader, (list, tuple))
        """Whether entering an epoch at any batch is exact and costs nothing."""

    @property
    def len_or_none(self) -> int | None:
        """Batches in an epoch; None if nobody can tell beforehand."""
        try:
            return len(self.loader)
        except (TypeError, NotImplementedError):
            return None

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[tuple[Batch, bool]]:
        """The batches of an epoch, each with whether it is the last.

        With a ``start``, a loader that cannot be entered in the middle is read from its beginning
        and the first batches are thrown away: right if it yields the same batches again, but as
        slow as reading them.

        Args:
            seed: the training's seed.
            epoch: lifetime number of the epoch, from 0.
            start: number of the first batch wanted.

        Raises:
            ValueError: the loader has no batches, fewer than ``start``, or more than its length.
        """
        n = self.len_or_none
        if n == 0:
            raise ValueError(self._no_batches("its length is 0"))
        if n is not None:
            check_start(start, n)
        batches = self._batches(seed, epoch, start)
        return self._look_ahead(batches) if n is None else self._count(batches, start, n)

    def _batches(self, seed: int, epoch: int, start: int) -> Iterator[Batch]:
        if is_seekable(self.loader):
            return self.loader.batches(seed, epoch, start)
        if isinstance(self.loader, (list, tuple)):
            return islice(cast(Iterable[Batch], self.loader), start, None)
        return self._read(Streams(seed).key("loader", epoch), start)

    def _read(self, key: int, start: int) -> Iterator[Batch]:
        """A foreign loader from batch ``start`` on, its opening kept from the global generators."""
        with forked(key):
            batches: Iterator[Batch] = iter(self.loader() if self._calls else self.loader)
            first = [] if start else list(islice(batches, 1))
            skipped = sum(1 for _ in islice(batches, start))
        if skipped < start:
            raise ValueError(
                f"start must be at most the number of batches; got {start}, but {self.name} ended "
                f"after {skipped}. Is this the data that was stopped?"
            )
        if start == 0 and not first and self.len_or_none is None:
            raise ValueError(self._no_batches("it ended before its first batch"))
        yield from first
        first.clear()  # else the generator would keep that batch for the whole epoch
        yield from batches

    def _count(self, batches: Iterator[Batch], start: int, n: int) -> Generator[tuple[Batch, bool]]:
        number = start - 1
        for number, batch in enumerate(batches, start):
            if number >= n:
                raise ValueError(
                    f"{self.name} says that it has {n} batches, but yields more. "
                    "Correct its __len__; the end of an epoch is planned with it."
                )
            yield batch, number == n - 1
        if number < n - 1:
            warnings.warn(
                f"{self.name} says that it has {n} batches, but ended after {number + 1}. "
                "Correct its __len__; schedules are planned with it.",
                stacklevel=2,
            )

    @staticmethod
    def _look_ahead(batches: Iterator[Batch]) -> Generator[tuple[Batch, bool]]:
        none: Any = object()
        batch = next(batches, none)
        while batch is not none:
            following = next(batches, none)
            yield batch, following is none
            batch = following

    def _no_batches(self, why: str) -> str:
        return (
            f"{self.name} has no batches: {why}. Check its data; with drop_last=True a data set "
            "smaller than batch_size has none. A function must make a fresh iterator every time."
        )

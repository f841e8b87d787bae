"""Any iterable of batches, seen by the loop as one thing."""

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from itertools import islice
from typing import Any, cast

from lehr.base.sharing import part_of
from lehr.data.loading.endless import is_endless
from lehr.data.loading.readable import check_readable
from lehr.data.loading.reopened import draw_as_at_first
from lehr.data.loading.sampler import check_start
from lehr.data.loading.single import about_items
from lehr.engine import ALONE, Engine
from lehr.state.entries import loader_entries, tells_state
from lehr.state.epochs import tell_epoch
from lehr.state.streams import Streams, forked
from lehr.types import Batch, Stateful, is_seekable, is_sharing

Size = tuple[int | None, int | None]

_OWN = ""  # the entry of a loader that has a state of its own
_OF_DATA = ".dataset"  # the entries of what is drawn for each item
_MANY = 100_000  # batches of a pass whose end nobody knows


class Feed:
    """Turns any loader into numbered epochs that know their last batch.

    There are three kinds. A loader with ``batches(seed, epoch, start)`` is asked for just
    what is needed. A list of batches is sliced. Anything else is opened anew every epoch and read
    from its beginning; opening it and its first batch happen with the global generators keyed by
    (seed, epoch) and put back afterwards, for even an unshuffled torch loader draws from them.
    Such a loader that has ``state_dict`` and ``load_state_dict`` is taken to go on, when it is next
    opened, where the state says that was loaded: at the batch after those that it had yielded.

    Args:
        loader: any re-iterable of batches, or a function that makes a fresh iterator.
        name: what messages call it.
        tells: whether the loader, its samplers and its dataset are told the number of each epoch
            before it is opened, if they have ``set_epoch``.
        ends: whether an epoch is to be read to its end.
        engine: the processes that train together; of every batch, each reads its share.

    Raises:
        TypeError: it cannot be iterated, or only once.

    Example:
        >>> feed = Feed(lambda: iter("abc"))
        >>> feed.len_or_none, list(feed.epoch(seed=0, epoch=0))
        (None, [('a', False), ('b', False), ('c', True)])
    """

    def __init__(
        self,
        loader: Any,
        name: str = "loader",
        *,
        tells: bool = False,
        ends: bool = False,
        engine: Engine = ALONE,
    ) -> None:
        check_readable(loader, name)
        self.loader: Any = loader
        self.name, self.tells, self.ends, self.engine = name, tells, ends, engine
        self._calls = not hasattr(cast(Any, type(loader)), "__iter__")
        self.seekable = is_seekable(loader) or isinstance(loader, (list, tuple))
        """Whether entering an epoch at any batch is exact and costs nothing."""
        keeps_workers = bool(getattr(cast(Any, loader), "persistent_workers", False))
        self.one_reader = not self.seekable and (isinstance(loader, Stateful) or keeps_workers)
        """Whether a second reader would take the first one's place in the loader."""
        self.opened: Size = (None, None)
        """The size of the epoch that was opened last."""
        self._held: dict[str, Any] = {}
        self._gave = False  # whether it has yielded anything
        self.own = engine.reads_own and not self.seekable
        """Whether each of several processes reads batches of its own"""
        self._longest = self._agreed()  # as the others have to wait for whoever has most

    @cached_property
    def positioned(self) -> bool:
        """Whether a foreign loader says where it is, so that it can go on there."""
        return not self.seekable and tells_state(self.loader)

    @property
    def rereads(self) -> bool:
        """Whether an epoch that is entered in the middle is read from its beginning."""
        return not (self.seekable or self.positioned)

    @property
    def out_of_sight(self) -> str | None:
        """What its workers keep from epoch to epoch and draw from, where nobody can save it."""
        if not getattr(self.loader, "num_workers", 0):
            return None
        if self.seekable:  # then the global generators are keyed before each batch
            own = loader_entries(_OWN, self.loader, position=False)
            return next((key.lstrip(".") for key in own if key.startswith(_OF_DATA)), None)
        keeps = not self.positioned and getattr(self.loader, "persistent_workers", False)
        return "the global generators in them" if keeps else None

    def entries(self, name: str, *, position: bool = True) -> dict[str, Stateful]:
        """The loader's state entries, such that an epoch can be entered where it is.

        Within an epoch that is not always their state of the moment: of a generator it is the one
        that the epoch was opened with, and of a loader that was read one batch ahead the one
        before that. A loader that was left in the middle of an epoch has no place to go on from:
        its next one begins at the beginning.

        Args:
            name: of the loader, for theirs.
            position: whether the state of a loader that says where it is is wanted, or only the
                generators that it draws from. It can only be loaded for the next epoch that is
                opened, which then begins there.

        Example:
            >>> import torch
            >>> loader = torch.utils.data.DataLoader([1, 2], generator=torch.Generator())
            >>> list(Feed(loader).entries("train_dl"))
            ['train_dl.generator']
        """
        position = position and (self.seekable or self.positioned)
        entries = loader_entries(_OWN, self.loader, position=position)
        # Also what it draws from. Of lehr's loader, each process reads items of its own.
        apart = {k for k in entries if self.own or (self.seekable and k.startswith(_OF_DATA))}
        self.engine.by_process |= {f"{name}{key}" for key in apart}
        return {f"{name}{key}": _Part(entry, key, self._held) for key, entry in entries.items()}

    @property
    def len_or_none(self) -> int | None:
        """Batches in an epoch; None if that is not known beforehand.

        Where each process has batches of its own, it is as long as the longest of them all.
        """
        return self._longest if self.own else _len_or_none(self.loader)

    def _agreed(self) -> int | None:
        if not self.own:
            return None
        lengths = self.engine.gather(_len_or_none(self.loader))
        return None if None in lengths else max(lengths)

    @property
    def size(self) -> Size:
        """Batches in an epoch, and items in the dataset, as far as they can be known now."""
        items = None if self.own else _len_or_none(getattr(self.loader, "dataset", None))
        return self.len_or_none, items

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[tuple[Batch, bool]]:
        """The batches of an epoch, each with whether it is the last.

        With a ``start``, a loader that has a state of its own must have been given the one that it
        had there. Any other that cannot be entered in the middle is read from its beginning, and
        the first batches are thrown away: right if it yields the same batches again, but as slow as
        reading them.

        Args:
            seed: the training's seed.
            epoch: lifetime number of the epoch, from 0.
            start: number of the first batch wanted.

        Raises:
            ValueError: the loader has no batches, fewer than ``start``, or more than its length.
        """
        n, batches, held = self._open(seed, epoch, start)
        return self._look_ahead(batches, held) if n is None else self._count(batches, start, n)

    def first(self, seed: int, epoch: int) -> Batch:
        """The first batch of an epoch; no other is read.

        Args:
            seed: the training's seed.
            epoch: lifetime number of the epoch, from 0.

        Raises:
            ValueError: the loader has no batches.

        Example:
            >>> Feed(lambda: iter("abc")).first(seed=0, epoch=0)
            'a'
        """
        n, batches, _ = self._open(seed, epoch, 0)
        counted = self._count(batches, 0, 1 if n is None else n)
        try:
            return next(counted)[0]
        finally:
            counted.close()  # processes that read ahead end now, or wait for the next pass

    def _open(
        self, seed: int, epoch: int, start: int
    ) -> tuple[int | None, Iterator[Batch], dict[str, Any]]:
        """The length of an epoch, its batches, and what is held of the loader while it lasts."""
        if self.tells:
            tell_epoch(self.loader, epoch, Streams(seed).key("set_epoch", epoch))
        self._longest = self._agreed()
        n, _ = self.opened = self.size
        if n == 0:
            raise ValueError(self._no_batches("its length is 0"))
        if n is not None:
            check_start(start, n)
        held = self._held = dict[str, Any]()  # this epoch's alone: one left early ends at any time
        return n, self._batches(seed, epoch, start, held), held

    def _batches(self, seed: int, epoch: int, start: int, held: dict[str, Any]) -> Iterator[Batch]:
        share = self.engine.share
        if self.seekable:
            self._hold_orders(held)
        if is_sharing(self.loader) and share.world > 1:
            return _while(self.loader.batches(seed, epoch, start, share=share), held)
        if is_seekable(self.loader):
            batches = _while(self.loader.batches(seed, epoch, start), held)
        elif isinstance(self.loader, (list, tuple)):
            self._tell_of_items(cast(Sequence[Batch], self.loader)[:1])
            batches = islice(cast(Iterable[Batch], self.loader), start, None)
        else:
            apart = self.engine.key if self.own else ()
            batches = self._read(Streams(seed).key("loader", epoch, *apart), start, held)
            return self.engine.shares(batches, self.name, entered=self._reenters(start))
        return (part_of(batch, share) for batch in batches) if share.world > 1 else batches

    def _hold_orders(self, held: dict[str, Any]) -> None:
        """Hold what samplers draw from: entered in the middle, they draw the whole order anew."""
        drawn = loader_entries(_OWN, self.loader, position=False)
        for key, generator in drawn.items():
            if key != _OWN and not key.startswith(_OF_DATA):
                held[key] = generator.state_dict()

    def _reenters(self, start: int) -> bool:
        """Whether what is read first is the batch before ``start``, or the last before it."""
        return self.own and start > 0 and not self.positioned

    def _read(self, key: int, start: int, held: dict[str, Any]) -> Iterator[Batch]:
        """A foreign loader from batch ``start`` on, its opening kept from the global generators."""
        with forked(key):
            again = start if start and not self.positioned else 0
            skipped, last = 0, None
            generators = loader_entries(_OWN, self.loader, position=False)
            if not self.positioned:
                held |= {name: generator.state_dict() for name, generator in generators.items()}
            draw_as_at_first(self.loader)
            batches: Iterator[Batch] = iter(self.loader() if self._calls else self.loader)
            if self.ends and is_endless(batches):
                raise ValueError(
                    self._endless(f"it is a {type(batches).__name__}, which never does")
                )
            first = [] if start else list(islice(batches, 1))
            for skipped, last in enumerate(islice(batches, again), 1):  # noqa: B007 - the last one
                pass
        if self._reenters(start):
            first = [last] if skipped else []
        elif skipped < again:
            raise ValueError(
                f"start must be at most the number of batches; got {start}, but {self.name} ended "
                f"after {skipped}. Is this the data that was stopped?"
            )
        if start == 0 and not first and self.len_or_none is None:
            raise ValueError(self._no_batches("it ended before its first batch"))
        self._tell_of_items(first)
        left = True
        try:
            yield from first
            first.clear()  # else the generator would keep that batch for the whole epoch
            yield from batches
            left = False
        finally:
            held.clear()
            if left:
                held[_OWN] = None

    def _tell_of_items(self, first: Sequence[Batch]) -> None:
        """Warn if the first batch that was ever read is a single item."""
        if first and not self._gave and (hint := about_items(self.loader, self.name, first[0])):
            warnings.warn(hint, stacklevel=3)
        self._gave = self._gave or bool(first)

    def _count(self, batches: Iterator[Batch], start: int, n: int) -> Generator[tuple[Batch, bool]]:
        number = start - 1
        for number, batch in enumerate(batches, start):
            if number >= n:
                raise ValueError(
                    f"{self.name} says that it has {n} batches, but yields more. "
                    "Correct its __len__; the end of an epoch is planned with it."
                )
            yield batch, number == n - 1
        if number < 0:
            raise ValueError(
                self._no_batches(f"its length is {n}, but it ended before its first batch")
            )
        if number < n - 1:
            warnings.warn(
                f"{self.name} says that it has {n} batches, but ended after {number + 1}. "
                "Correct its __len__; schedules are planned with it.",
                stacklevel=2,
            )

    def _look_ahead(
        self, batches: Iterator[Batch], held: dict[str, Any]
    ) -> Generator[tuple[Batch, bool]]:
        none: Any = object()
        number = 0
        try:
            batch = next(batches, none)
            while batch is not none:
                before = {_OWN: deepcopy(self.loader.state_dict())} if self.positioned else {}
                following = next(batches, none)
                held |= before
                yield batch, following is none
                batch, number = following, number + 1
                if number == _MANY and self.ends and batch is not none:
                    warnings.warn(self._endless(f"it has not after {number} batches"), stacklevel=2)
        finally:
            held.clear()

    def _endless(self, why: str) -> str:
        return (
            f"{self.name} must come to an end; {why}. Train with fit(steps=…), which needs no end, "
            "and validate on a part: lambda: itertools.islice(batches(), 100)."
        )

    def _no_batches(self, why: str) -> str:
        if self._gave:
            return (
                f"{self.name} is used up: {why}, but an earlier epoch had batches. It seems that "
                "it can be read only once. Pass a function that makes a fresh iterator every time, "
                "e.g. lambda: batches(), or let its __iter__ start over."
            )
        return (
            f"{self.name} has no batches: {why}. Check its data; with drop_last=True a data set "
            "smaller than batch_size has none. A function must make a fresh iterator every time."
        )


def _while(batches: Iterator[Batch], held: dict[str, Any]) -> Iterator[Batch]:
    """The batches, and what is held of their loader as long as they last."""
    return _holding(batches, held) if held else batches


def _holding(batches: Iterator[Batch], held: dict[str, Any]) -> Generator[Batch]:
    try:
        yield from batches
    finally:
        held.clear()


def _len_or_none(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


class _Part:
    """A state entry of a loader whose epoch is under way."""

    def __init__(self, entry: Stateful, key: str, held: Mapping[str, Any]) -> None:
        self.entry, self.key, self.held = entry, key, held

    def state_dict(self) -> Mapping[str, Any]:
        return self.held[self.key] if self.key in self.held else self.entry.state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        if state_dict is not None:  # then it has no place to go on from
            self.entry.load_state_dict(state_dict)

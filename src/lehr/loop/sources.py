"""What the epochs of a run are read from: the data that it began with, and those assigned since."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lehr.data.loading.feed import Feed
from lehr.loop import arguments
from lehr.loop.plan import Plan, feeds


class Source(NamedTuple):
    """A DataBunch, and how it is read."""

    since: int
    """the first epoch that reads it"""
    data: Any
    """the DataBunch"""
    train: Feed
    """the training batches"""
    valid: Mapping[str, Feed]
    """the validation batches by loader name"""
    loaders: tuple[Any, ...]
    """what the DataBunch had in its attributes then"""


class Sources:
    """The data of a run, epoch by epoch.

    Args:
        plan: of the run.

    Attributes:
        on_opening: called with the run, once, when the next training pass opens.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> tiny_learner().fit(1).sources.at(0).train.len_or_none
        4
    """

    __slots__ = ("_all", "_ends", "_read", "on_opening")

    def __init__(self, plan: Plan) -> None:
        self._all = [Source(0, plan.data, plan.train, plan.valid, _loaders(plan.data))]
        self._ends = plan.epochs is not None
        self._read = plan.train
        self.on_opening: Callable[[Any], None] | None = None

    @property
    def latest(self) -> Any:
        """The DataBunch that was assigned last."""
        return self._all[-1].data

    @property
    def changed(self) -> bool:
        """Whether any was assigned since the run began."""
        return len(self._all) > 1

    def at(self, epoch: int) -> Source:
        """What an epoch is read from."""
        return next(source for source in reversed(self._all) if source.since <= epoch)

    def said(self, epoch: int) -> str:
        """In words, whose data an epoch is read from."""
        return "the Learner's" if self.at(epoch) is self._all[0] else "assigned to run.data"

    def assign(self, data: Any, since: int) -> None:
        """Read other data from an epoch on.

        Raises:
            TypeError: they are no DataBunch, or cannot be read.
            ValueError: the names of the validation loaders are others.
        """
        arguments.check_data(data, "run.data")
        train, valid = feeds(data, tells=True, ends=self._ends, engine=self._read.engine)
        names, given = list(self._all[0].valid), list(valid)
        if names != given:
            raise ValueError(
                "run.data must have the validation loaders that the run began with: "
                f"{_listed(names)}; got {_listed(given)}. Columns of the history, metrics and "
                "monitors go by them. Give those, or none before, too."
            )
        self._all.append(Source(since, data, train, valid, _loaders(data)))

    def open(self, run: Any) -> Feed:
        """The training batches of the epoch that the run is in, which begins to read them.

        A loader that was assigned to the DataBunch itself is read from now on, too.
        """
        source = self.at(run.epoch)
        now = _loaders(source.data)
        if any(a is not b for a, b in zip(source.loaders, now, strict=True)):
            self.assign(source.data, run.epoch)
        feed = self.at(run.epoch).train
        if self.on_opening is not None:
            check, self.on_opening = self.on_opening, None
            check(run)
        if feed is not self._read:
            self._read = feed
            _tell_of_length(run, feed.len_or_none)
        return feed


def _loaders(data: Any) -> tuple[Any, Any]:
    """The loaders in its attributes; what a property makes anew each time is none of them."""
    own: dict[str, Any] = getattr(data, "__dict__", {})
    return own.get("train_dl"), own.get("valid_dl")


def _tell_of_length(run: Any, batches: int | None) -> None:
    before, planned = run.train_batches, run.counts_a_step_a_batch
    run.train_batches = batches
    if batches != before and planned:
        warnings.warn(
            f"run.data has {'an unknown number of' if batches is None else batches} training "
            f"batches from epoch {run.epoch} on, and had {before}: the epoch has all of them, but "
            f"schedules go by the {run.planned_steps} steps that were planned. Give fit(…, "
            "steps_per_epoch=…), the mean over all epochs, or fit(steps=…).",
            stacklevel=2,
        )


def _listed(names: list[str]) -> str:
    if names in ([], [""]):
        return "one without a name" if names else "none"
    return ", ".join(map(repr, names))

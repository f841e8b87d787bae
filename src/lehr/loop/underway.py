"""The runs that are under way in this process: a callback may ask a Learner for another one."""

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.data.loading.feed import Feed
from lehr.loop.inventory import of_course
from lehr.state.ownership import is_mine, owned
from lehr.types import Stateful, is_mapping

_Metrics = Iterable[Any] | Mapping[str, Any]

_runs: list[Any] = []  # the innermost last; all of one thread


@interrupts_wait_at_both_ends
@contextmanager
def under_way(run: Any) -> Generator[bool]:
    """A scope in which ``run`` is one of those under way.

    Yields:
        Whether it is inside another.

    Raises:
        RuntimeError: another thread has one under way.
    """
    with owned():
        _runs.append(run)
        try:
            yield len(_runs) > 1
        finally:
            _runs.remove(run)


def runs_of(learn: Any) -> list[Any]:
    """The runs of a Learner that are under way, the innermost last.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> runs_of(tiny_learner())
        []
    """
    return [run for run in _runs if run.is_of(learn)]


def refuse_fit(learn: Any) -> None:
    """See that a Learner is not asked to fit from inside one of its own runs.

    Raises:
        RuntimeError: it is; nothing is changed.
    """
    if runs_of(learn):
        raise RuntimeError(
            "fit was called within a run of the same Learner: it would move the weights and clear "
            "the gradients under that run. To try some steps and put everything back, call "
            "learn.rehearse(steps); to train another model, make a Learner of its own for it; to "
            "train this one longer, call fit when the run is over."
        )


def refuse_busy(callbacks: Iterable[Any]) -> None:
    """Check that no callback is attached to two runs at once: it would take one for the other.

    Raises:
        ValueError: one of them is attached to a run that is under way; nothing is changed.
    """
    busy = {id(callback) for run in _runs for callback in run.callbacks}
    for callback in callbacks:
        if id(callback) in busy:
            raise ValueError(
                f"this {type(callback).__name__} is attached to a run that is under way: it would "
                "take the batches of one run for those of the other. Make another one for the run "
                "inside."
            )


def own_metrics(metrics: _Metrics) -> _Metrics:
    """The metrics, each one copied with which a run under way may be in the middle of measuring.

    Example:
        >>> own_metrics([print]) == [print], own_metrics({"shown": print}) == {"shown": print}
        (True, True)
    """
    busy = {id(metric) for run in _runs for metric in _listed(run.learn.metrics)}

    def own(metric: Any) -> Any:
        return deepcopy(metric) if id(metric) in busy else metric

    if is_mapping(metrics):
        return {name: own(metric) for name, metric in metrics.items()}
    return [own(metric) for metric in metrics]


def _listed(metrics: _Metrics) -> Iterable[Any]:
    return metrics.values() if is_mapping(metrics) else metrics


def refuse_open(feeds: Iterable[Feed]) -> None:
    """See that no loader is read that a run is in the middle of and cannot be read twice at once.

    Raises:
        RuntimeError: one is; nothing is changed.
    """
    for feed in feeds:
        for run in _runs:
            source = run.sources.at(run.epoch)
            reading = [source.train, *(() if run.training else source.valid.values())]
            if feed.one_reader and any(feed.loader is other.loader for other in reading):
                raise RuntimeError(
                    f"{feed.name} is being read by a run that is under way, and a "
                    f"{type(feed.loader).__name__} like this one cannot be read twice at once: the "
                    "run would lose its place. Do this before or after the fit, or with a loader "
                    "of its own; lehr.data.DataLoader can be read by many."
                )


def course(learn: Any) -> dict[str, Stateful]:
    """What the runs of a Learner that are under way have besides the Learner's own state."""
    return {
        f"run {number}, {name}": entry
        for number, run in enumerate(runs_of(learn))
        for name, entry in of_course(run).items()
    }


def _in_child() -> None:
    """In a forked process, the runs of other threads are gone."""
    if not is_mine():
        _runs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

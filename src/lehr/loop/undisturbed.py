"""Runs that are under way stay as they are while their Learner is asked for something else."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.callback import Callback
from lehr.loop.inventory import of_callbacks, of_data
from lehr.loop.plan import feeds
from lehr.loop.underway import course, runs_of
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture, restore
from lehr.types import Stateful


@interrupts_wait_at_both_ends
@contextmanager
def undisturbed(learn: Any, callbacks: Iterable[Callback] = ()) -> Generator[None]:
    """A scope after which callbacks and runs are as they were.

    Besides what `same_attributes` keeps, what these callbacks declare as state has the same values
    again; and so do the position, the streams and the history of the Learner's runs that are under
    way, the generators of its loaders and the number of the epoch that
    these were told. Inside `Learner.probe`, `same_attributes` is enough.

    Args:
        learn: the Learner.
        callbacks: those that take part, besides those of its runs that are under way.
    """
    callbacks = list(callbacks)
    loaders = of_data(*feeds(learn.data), position=False)
    entries = {**of_callbacks(callbacks), **course(learn), **loaders}
    before = capture(entries)
    try:
        with same_attributes(learn, callbacks):
            yield
    finally:
        # Only what differs: what is loaded is another object than the one that was there.
        changed = {name for name in entries if _differs(entries, before, name)}
        restore({name: entries[name] for name in changed}, {name: before[name] for name in changed})


@interrupts_wait_at_both_ends
@contextmanager
def same_attributes(learn: Any, callbacks: Iterable[Callback] = ()) -> Generator[None]:
    """A scope after which all attributes of callbacks are the same objects as before.

    A pass makes callbacks begin that may be in the middle of a fit, and the model may have hooks
    that a callback of that fit reads. `Learner.probe` keeps states alone; what no `state` declares,
    this scope keeps.

    Args:
        learn: the Learner.
        callbacks: those that take part, besides those of its runs that are under way.
    """
    everybody = [*callbacks, *(cb for run in runs_of(learn) for cb in run.callbacks)]
    held = [(callback, dict(vars(callback))) for callback in everybody]
    try:
        yield
    finally:
        for callback, attributes in held:
            vars(callback).clear()
            vars(callback).update(attributes)


def _differs(entries: Mapping[str, Stateful], before: dict[str, Any], name: str) -> bool:
    try:
        now = capture({name: entries[name]})
    except Exception:  # what was done to it is undone by loading what it was
        return True
    return first_difference({name: before[name]}, now) is not None

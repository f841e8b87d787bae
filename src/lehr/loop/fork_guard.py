"""A fit goes on in the process that began it, and not in one that is forked from it meanwhile."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.events import ACTIONS
from lehr.loop.dispatch import Actions

_guarded: list[Actions] = []


@interrupts_wait_at_both_ends
@contextmanager
def no_fit_in_forks(actions: Actions) -> Generator[None]:
    """A scope in which these actions become an error in every process that is forked.

    Args:
        actions: those of a loop that is at work.
    """
    _guarded.append(actions)
    try:
        yield
    finally:
        _guarded.remove(actions)


def _forked() -> NoReturn:
    raise RuntimeError(
        "this process was forked in the middle of a fit, and cannot go on with it: two processes "
        "would train one model and write the same files. Let the child do its own work and end "
        "with os._exit, as multiprocessing does."
    )


def _in_child() -> None:
    for actions in _guarded:
        for action in ACTIONS:
            setattr(actions, action, _forked)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

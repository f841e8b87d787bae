"""A probe: try anything, leave no trace."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import nn

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.signals import patient
from lehr.errors import add_note, one_line
from lehr.state.entries import ModelState
from lehr.state.optimizer import is_optimizer
from lehr.state.snapshot import Entries, capture
from lehr.state.structure import keep_structure
from lehr.types import Stateful

PutBack = Callable[[], object]


@interrupts_wait_at_both_ends
@contextmanager
def probe(
    entries: Entries,
    held: Mapping[str, PutBack] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Generator[None]:
    """A scope after which every state entry is bit for bit what it was, whatever happened inside.

    What has been added to a model (a buffer, a lazy parameter's values) or to an optimizer is gone;
    what was there is the same object again. An interrupt waits until all is put back.

    Of modules and optimizers no ``state_dict`` is asked for: they are put back in place, with all
    that `lehr.state.structure.keep_structure` knows how to keep, whatever an optimizer has in its
    state.

    Args:
        entries: what to protect, by name; `Learner.probe` passes everything a Learner has.
        held: functions that put something else back, by name; they are called first.
        parts: what else to put back in place, by name: what is in the attributes of callbacks, say.

    Raises:
        RuntimeError: an entry cannot be put back; the message names every such, and the others are
            as they were.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(1, 1)
        >>> before = layer.weight.item()
        >>> with probe({"model": layer}):
        ...     _ = torch.nn.init.zeros_(layer.weight)
        >>> layer.weight.item() == before
        True
    """
    with patient():
        seen: dict[int, Any] = {}  # what is part of two is kept once
        every = {**(held or {}), **{name: _keep(name, e, seen) for name, e in entries.items()}}
        for name, part in (parts or {}).items():
            every[f"what {name} holds"] = keep_structure(part, containers=False, seen=seen)
        try:
            yield
        finally:
            put_back(every)


def _keep(name: str, entry: Stateful, seen: dict[int, Any]) -> PutBack:
    thing = entry.model if isinstance(entry, ModelState) else entry
    if isinstance(thing, nn.Module):
        return keep_structure(thing, seen=seen)
    if is_optimizer(thing):  # whose parameters are those of another entry, or of none
        params = [p for group in cast("Any", thing).param_groups for p in group["params"]]
        return keep_structure(thing, seen={**seen, **{id(p): p for p in params}})
    saved = capture({name: entry})[name]
    return partial(entry.load_state_dict, saved)


def put_back(held: Mapping[str, PutBack]) -> None:
    """Call every function, whatever the others raise.

    Args:
        held: what puts something back, by the name that messages give it.

    Raises:
        RuntimeError: some failed; the message names them all.

    Example:
        >>> put_back({"a": lambda: print("a is back"), "b": lambda: print("b is back")})
        a is back
        b is back
    """
    failures: dict[str, BaseException] = {}
    for name, function in held.items():
        try:
            function()
        except BaseException as error:
            failures[name] = error
    if not failures:
        return
    names = ", ".join(f"{name} ({one_line(error)})" for name, error in failures.items())
    text = f"could not be put back: {names}. Everything else is as it was."
    first = next(iter(failures.values()))
    try:
        for error in failures.values():
            if not isinstance(error, Exception):  # a request to end the program, say
                add_note(error, text)
                raise error
        raise RuntimeError(text) from first
    finally:
        del failures, first  # their tracebacks hold this frame

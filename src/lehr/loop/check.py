"""Is a callback one that the loop can call? Asked when it is attached."""

import inspect
import os
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim.lr_scheduler import LRScheduler

from lehr.callback import Callback
from lehr.errors import did_you_mean, nearest, positive_int
from lehr.events import ACTIONS, EVENTS, Layer, Phase
from lehr.optim.slots import Slots
from lehr.types import is_mapping, is_sequence, parameter_names

METHODS = (*EVENTS, *ACTIONS, "around_fit")
_MOVED = ("model", "batches")
_EXAMPLES = {
    "state": "steps",
    "before": "Recorder",
    "after": "Recorder",
    "moves": "batches",
    "monitors": "valid_loss",
}

_QUESTIONS = {
    "regrads": "whether the callback calls run.regrad()",
    "replays": "whether the course of a run may depend on the callback",
    "plans": "whether what the callback does depends on the position alone",
    "by_length": "whether what the callback does may depend on how long the fit is planned",
    "everywhere": "whether the callback takes part in every process",
}


def check(callback: object) -> None:
    """Refuse a callback with a method that would never be called, or called wrongly.

    Raises:
        TypeError: it is no `Callback` instance, or a method does not take what it would be given.
        AttributeError: a method looks like an event or action but is none.

    Example:
        >>> class Typo(Callback):
        ...     def after_backwards(self, run): ...
        >>> check(Typo())
        Traceback (most recent call last):
        AttributeError: Typo.after_backwards would never be called: it is no event or action. Did
        you mean after_backward? All of them are in lehr.events.
    """
    if not isinstance(callback, Callback):
        made = f"Write {callback.__name__}()" if isinstance(callback, type) else "Inherit from it"
        if isinstance(callback, LRScheduler):
            made = f"Write TorchScheduler(lambda opt: {type(callback).__name__}(opt, …))"
        raise TypeError(
            f"callbacks must be instances of lehr.Callback; got {callback!r}. {made}, or take it "
            "out."
        )
    kind = type(callback)
    _check_declarations(callback)
    for name in METHODS:
        if hasattr(callback, name):
            _check_method(callback, name)
    for name in dir(kind):
        if name.startswith("_") or name in METHODS or hasattr(Callback, name):
            continue
        method: Any = inspect.getattr_static(kind, name)
        if inspect.isfunction(method) and (meant := _meant(name, method)):
            raise AttributeError(
                f"{kind.__name__}.{name} would never be called: it is no event or action. {meant} "
                "All of them are in lehr.events."
            )


def _check_declarations(callback: Callback) -> None:
    """See that what a callback says of itself can be read as it is meant."""
    kind = type(callback).__name__
    for name in _EXAMPLES:
        value: Any = getattr(callback, name)
        if not is_sequence(value) or not all(isinstance(item, str) for item in value):
            raise TypeError(
                f"{kind}.{name} must be a tuple of names; got {value!r}. "
                f'Write e.g. {name} = ("{_EXAMPLES[name]}",).'
            )
    for name in ("before", "after"):
        if kind in getattr(callback, name):
            raise ValueError(
                f"{kind}.{name} names {kind!r}, its own class: two of one class stand in the order "
                "of the list. Take it out, or name the class that is meant."
            )
    if unknown := [what for what in callback.moves if what not in _MOVED]:
        raise ValueError(f"{kind}.moves names {unknown[0]!r}. {did_you_mean(unknown[0], _MOVED)}")
    for name, allowed in (("phase", Phase), ("layer", Layer)):
        if (value := getattr(callback, name)) not in list(allowed):
            raise TypeError(
                f"{kind}.{name} must be one of lehr.{allowed.__name__}; got {value!r}. "
                f"Write e.g. {name} = {allowed.__name__}.{next(iter(allowed)).name}."
            )
    drives: Any = callback.drives
    if not is_sequence(drives) or not all(isinstance(one, (str, Slots)) for one in drives):
        raise TypeError(
            f'{kind}.drives must be a tuple of names; got {drives!r}. Write e.g. drives = ("lr",).'
        )
    if not is_mapping(callback.freezes):
        raise TypeError(
            f"{kind}.freezes must be a dict of parts and of times until when; got "
            f'{callback.freezes!r}. Write e.g. freezes = {{"body": None}}.'
        )
    modules: Any = callback.modules
    if not is_sequence(modules) or not all(hasattr(module, "to") for module in modules):
        raise TypeError(
            f"{kind}.modules must be a list of modules; got {modules!r}. "
            "Write e.g. self.modules = [self.teacher]."
        )
    if callback.evaluates not in (True, False, None):
        raise TypeError(
            f"{kind}.evaluates must be True, False or None; got {callback.evaluates!r}. None "
            "leaves it to what the callback moves and wraps."
        )
    for name, question in _QUESTIONS.items():
        if (answer := getattr(callback, name)) not in (True, False):
            raise TypeError(f"{kind}.{name} must be True or False; got {answer!r}. Say {question}.")
    folder: Any = callback.checkpoint_folder
    if folder is not None and not isinstance(folder, (str, os.PathLike)):
        raise TypeError(
            f"{kind}.checkpoint_folder must be a path or None; got {folder!r}. None says that the "
            "callback saves no checkpoints."
        )
    if callback.batches_per_step is not None:
        positive_int(f"{kind}.batches_per_step", callback.batches_per_step, example=4)


def _meant(name: str, method: Callable[..., Any]) -> str | None:
    """What a method was probably meant to be, if it looks like an event or an action."""
    foreign = re.fullmatch(r"(on|before|begin|after)_(\w+?)(_start|_begin|_end)?", name)
    if foreign:
        first, core, last = foreign.groups()
        begins = last in ("_start", "_begin") or (first in ("before", "begin") and not last)
        known = [n for n in (f"{'begin' if begins else 'after'}_{core}", core) if n in METHODS]
        return f"Did you mean {known[0]}?" if known else did_you_mean(name, METHODS)
    takes = parameter_names(method)
    if "proceed" in takes:
        return did_you_mean(name, ACTIONS)
    if takes[1:2] != ("run",) or len(name) <= 5:
        return None
    guess = nearest(name, METHODS, likeness=0.88)
    return f"Did you mean {guess}?" if guess else None


_SUITED: WeakKeyDictionary[FunctionType, set[int]] = WeakKeyDictionary()


def _see_that_it_takes(method: Any, given: tuple[str, ...]) -> None:
    """See that a method can be called so; a ``def`` that can be is not looked at again.

    Raises:
        TypeError: it cannot.
    """
    written = getattr(method, "__func__", None)
    if type(written) is not FunctionType:
        inspect.signature(method).bind(*given)
    elif len(given) not in _SUITED.setdefault(written, set()):
        inspect.signature(method).bind(*given)
        _SUITED[written].add(len(given))


def _check_method(callback: Callback, name: str) -> None:
    kind, method = type(callback).__name__, getattr(callback, name)
    what, given = ("an action", ("run", "proceed")) if name in ACTIONS else ("an event", ("run",))
    if not callable(method):
        raise TypeError(
            f"{kind}.{name} is {method!r}, but {name} is the name of {what} and must be a method. "
            "Give the attribute another name."
        )
    if inspect.iscoroutinefunction(method):
        raise TypeError(
            f"{kind}.{name} is a coroutine, and the loop waits for none. Write def, not async def."
        )
    if inspect.isgeneratorfunction(method):
        do = "@contextlib.contextmanager above it" if name == "around_fit" else "it without yield"
        raise TypeError(
            f"{kind}.{name} is a generator: to call it runs none of its lines. Write {do}."
        )
    try:
        _see_that_it_takes(method, given)
    except TypeError as error:
        written = inspect.signature(getattr(type(callback), name, method))
        arguments = ", ".join(("self", *given))
        raise TypeError(
            f"{kind}.{name} has the signature {written}; {what} is called with ({arguments}). "
            f"Write def {name}({arguments})."
        ) from error

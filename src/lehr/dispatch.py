"""Compiled dispatch: every event becomes a tuple of bound methods, every action one callable.

An event that nobody hears is an empty tuple; an action that nobody wraps is the loop's own method.
"""

import inspect
import re
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lehr.callback import Callback
from lehr.errors import did_you_mean, nearest
from lehr.events import ACTIONS, EVENTS, Cancel
from lehr.hints import hints
from lehr.types import is_mapping, is_sequence

Listener = Callable[[Any], None]
Verb = Callable[[], None]

METHODS = (*EVENTS, *ACTIONS, "around_fit")
_STEPS_WITH_HINTS = ("predict", "compute_loss", "backward", "Recorder.after_batch")


class Listeners:
    """For each event, the bound methods that hear it, in order."""

    __slots__ = EVENTS

    if TYPE_CHECKING:

        def __getattr__(self, event: str) -> tuple[Listener, ...]: ...

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        ordered = in_phases(callbacks)
        for event in EVENTS:
            setattr(self, event, tuple(getattr(cb, event) for cb in ordered if hasattr(cb, event)))


class Actions:
    """For each action, one composed callable: outermost wrapper first, the loop's verb last."""

    __slots__ = ACTIONS

    if TYPE_CHECKING:

        def __getattr__(self, action: str) -> Verb: ...

    def __init__(self, callbacks: Iterable[Callback], run: Any, verbs: Mapping[str, Verb]) -> None:
        ordered = in_layers(callbacks)
        for action in ACTIONS:
            composed = verbs[action]
            for callback in reversed(ordered):
                if hasattr(callback, action):
                    composed = partial(getattr(callback, action), run, composed)
            setattr(self, action, composed)


def in_phases(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks in the order in which they hear an event."""
    return sorted(callbacks, key=lambda callback: (callback.phase, *_shipped(callback)))


def in_layers(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks in the order in which they wrap an action, outermost first."""
    return sorted(callbacks, key=lambda callback: (callback.layer, *_shipped(callback)))


def _shipped(callback: Callback) -> tuple[bool, str]:
    # Ours come first and in a fixed order, so that list order decides only among a user's own.
    kind = type(callback)
    return (False, kind.__name__) if kind.__module__.startswith("lehr.") else (True, "")


def fire(listeners: Sequence[Listener], run: Any) -> None:
    """Let every listener hear the event; the widest cancel they raised takes effect then."""
    cancel: Cancel | None = None
    for listener in listeners:
        try:
            listener(run)
        except Cancel as request:
            if cancel is None or request.width > cancel.width:
                cancel = request
    if cancel is not None:
        try:
            raise cancel
        finally:
            del cancel  # its traceback holds this frame: a cycle would keep the Learner alive


@contextmanager
def around(callbacks: Iterable[Callback], run: Any) -> Generator[None]:
    """The scope of every `around_fit`, opened in phase order; none of them can swallow an error."""
    error: BaseException | None = None
    with ExitStack() as stack:
        for callback in in_phases(callbacks):
            if hasattr(callback, "around_fit"):
                stack.enter_context(callback.around_fit(run))  # type: ignore[reportAttributeAccessIssue]
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
    if error is not None:
        raise error


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
        raise TypeError(
            f"callbacks must be instances of lehr.Callback; got {callback!r}. {made}, or take it "
            "out."
        )
    kind = type(callback)
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


def _meant(name: str, method: Callable[..., Any]) -> str | None:
    """What a method was probably meant to be, if it looks like an event or an action."""
    foreign = re.fullmatch(r"(on|before|begin|after)_(\w+?)(_start|_begin|_end)?", name)
    if foreign:
        first, core, last = foreign.groups()
        begins = last in ("_start", "_begin") or (first in ("before", "begin") and not last)
        known = [n for n in (f"{'begin' if begins else 'after'}_{core}", core) if n in METHODS]
        return f"Did you mean {known[0]}?" if known else did_you_mean(name, METHODS)
    takes = [*inspect.signature(method).parameters]
    if "proceed" in takes:
        return did_you_mean(name, ACTIONS)
    guess = nearest(name, METHODS, likeness=0.88)
    return f"Did you mean {guess}?" if guess and takes[1:2] == ["run"] and len(name) > 5 else None


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
    try:
        inspect.signature(method).bind(*given)
    except TypeError as error:
        written = inspect.signature(getattr(type(callback), name, method))
        arguments = ", ".join(("self", *given))
        raise TypeError(
            f"{kind}.{name} has the signature {written}; {what} is called with ({arguments}). "
            f"Write def {name}({arguments})."
        ) from error


def where(error_traceback: TracebackType | None, run: Any) -> str:
    """Which event, action and callback were at work, outermost first, read from the traceback.

    Reading it after the fact keeps the loop free of any book-keeping for errors.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error_traceback)]
    steps: list[str] = []
    for i, frame in enumerate(frames):
        name, owner = frame.f_code.co_name, frame.f_locals.get("self")
        if frame.f_code is fire.__code__ and frame not in frames[:i]:  # a cancel passes it twice
            known = frame.f_locals
            hears, on, called = known["listeners"], known["run"]._on, known["listener"]
            events = (event for event in EVENTS if getattr(on, event) is hears)
            owners = (inner.f_locals.get("self") for inner in frames[i + 1 :])
            who = next((o for o in owners if isinstance(o, Callback)), None)
            who = who or getattr(called, "__self__", called)
            steps.append(f"{type(who).__name__}.{next(events, 'an event')}")
        elif isinstance(owner, Callback) and name in ACTIONS:
            steps.append(f"{type(owner).__name__}.{name}")
        elif owner is run and name.lstrip("_") in ACTIONS:
            steps.append(name.lstrip("_"))
    reading = run is not None and run.batch is None
    idle = "the loop, between batches or reading one" if reading else "the loop"
    return " > ".join(step for step in steps if step != "one_batch") or idle


def describe(value: Any) -> str:
    """Shapes, dtypes and devices of whatever a batch is made of.

    Example:
        >>> import torch
        >>> describe({"ids": torch.zeros(2, 3), "n": 4})
        '{ids: (2, 3) float32 cpu, n: int}'
    """
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} {value.device}"
    if is_mapping(value):
        inner = ", ".join(f"{k}: {describe(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if is_sequence(value):
        shown = [describe(v) for v in value[:4]]
        return f"[{', '.join(shown)}{', …' if len(value) > 4 else ''}]"
    return "None" if value is None else type(value).__name__


def annotate(error: BaseException, run: Any) -> None:
    """Add to an error what was going on and what is probably wrong; type and traceback stay."""
    try:
        notes = _notes(error, run)
    except Exception as failure:  # whatever happens here must not hide the user's error
        notes = [f"(What was going on could not be told: {failure!r}.)"]
    for note in notes:
        error.add_note(note)


def _notes(error: BaseException, run: Any) -> list[str]:
    place = where(error.__traceback__, run)
    note = f"In {place}, {_position(run)}."
    if run.batch is not None:
        note += f" xb: {describe(run.xb)}; yb: {describe(run.yb)}"
        note += f"; pred: {describe(run.pred)}." if run.pred is not None else "."
    if not place.endswith(_STEPS_WITH_HINTS):
        return [note]
    return [note, *hints(run.model, run.xb, run.yb, run.pred, run.loss)]


def _position(run: Any) -> str:
    half = "training" if run.training else f"validation {run.valid_name}".rstrip()
    return f"epoch {run.epoch}, {half} batch {run.batch_index}"


def misplaced(cancel: Cancel, run: Any) -> RuntimeError:
    """The error that a cancel becomes where it has no meaning."""
    kind = type(cancel).__name__
    place = where(cancel.__traceback__, run)
    scope = {"CancelBatch": "batch", "CancelEpoch": "epoch"}.get(kind, "fit")
    over = place.endswith("after_fit")
    why = "the fit is over" if over else f"no {scope} is running"
    a_scope = "an epoch" if scope == "epoch" else f"a {scope}"
    do = "Take it out" if over else f"Raise it inside {a_scope}, or raise CancelFit here"
    return RuntimeError(
        f"{kind} was raised in {place}, where {why}: it has no meaning there. {do}; "
        "run.stop(reason) may be called anywhere."
    )

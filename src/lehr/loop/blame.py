"""What was running when an error was raised, read from the traceback, and what is probably wrong.

Because it is read from the traceback afterwards, the loop keeps no record of where it is.
"""

import traceback
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from lehr.base.nested import describe
from lehr.callback import Callback
from lehr.data.loading.feed import Feed
from lehr.errors import add_note, one_line, said
from lehr.events import ACTIONS, EVENTS, Cancel
from lehr.loop.dispatch import act, fire
from lehr.loop.hints import (
    hints,
    of_field,
    of_one_item,
    of_order,
    of_split,
    step_hints,
    without_gradients,
)
from lehr.loop.rests import Rests
from lehr.loop.scopes import Scopes

_WITH_HINTS = ("predict", "compute_loss", "backward", ".after_batch")
_LEVELS = {
    **dict.fromkeys(("begin_fit", "after_fit", "around_fit", "fit"), "fit"),
    **dict.fromkeys(("begin_epoch", "after_epoch", "epoch"), "epoch"),
    **dict.fromkeys(("begin_train", "after_train", "begin_validate", "after_validate"), "pass"),
    **dict.fromkeys(("training", "validation"), "pass"),
}  # of an event or a scope; of any other it is a batch


class Place(NamedTuple):
    """Where an error was raised.

    Example:
        >>> Place("Mine.begin_epoch", "epoch").at
        'epoch'
    """

    text: str
    """event, action, callback or clean-up that ran, outermost first; empty for the loop itself"""
    at: str
    """``fit``, ``epoch``, ``pass``, ``batch``, or ``reading`` (of a batch)"""


def where(error_traceback: TracebackType | None, run: Any) -> Place:
    """Where an error was raised, by its traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error_traceback)]
    steps: list[str] = []
    at: list[str] = []
    for i, frame in enumerate(frames):
        name, known = frame.f_code.co_name, frame.f_locals
        owner = known.get("self")
        if frame.f_code in (fire.__code__, act.__code__) and known["run"] is not run:
            break  # a run inside this one has said for itself where it was
        if frame.f_code is fire.__code__ and frame not in frames[:i]:  # a cancel passes it twice
            listeners, on = known["listeners"], known["run"].loop.on
            event = next((event for event in EVENTS if getattr(on, event) is listeners), "an event")
            inside = [inner for inner in frames[i + 1 :] if inner is not frame]
            steps.append(f"{_who(_raiser(known, inside), inside)}.{event}")
            at.append(_LEVELS.get(event, "batch"))
        elif frame.f_code is act.__code__:
            steps.append(f"{_who(known['wrapper'], frames[i + 1 :])}.{known['action']}")
        elif name == "around_fit" and isinstance(owner, Callback):
            if _passes(frames[i:], "lehr.loop.loop"):
                continue  # an error of the loop goes through every `around_fit`
            steps.append(f"{type(owner).__name__}.around_fit")
            at.append("fit")
        elif frame.f_code is Rests.visit.__code__:
            if isinstance(visitor := getattr(known["visit"], "__self__", None), Callback):
                steps.append(f"{type(visitor).__name__} at a rest")
        elif name in ACTIONS and frame.f_globals.get("__name__", "").startswith("lehr.loop."):
            steps.append(name)
        elif frame.f_code is Scopes.undo.__code__:
            scope = known["name"]
            steps.append(f"a clean-up that was deferred in the {scope}")
            at.append(_LEVELS.get(scope, "batch"))
    text = " > ".join(step for step in steps if step != "one_batch")
    return Place(text, at[-1] if at else _under_way(frames, run))


def _raiser(known: dict[str, Any], inside: list[FrameType]) -> Any:
    """The listener that raised: for a cancel, that is not always the last one that was called."""
    for listener in known["listeners"]:
        code = getattr(getattr(listener, "__func__", listener), "__code__", None)
        if inside and inside[0].f_code is code:
            return listener
    return known["listener"]


def _who(method: Any, inside: list[FrameType]) -> str:
    """The class of the callback that a method is of, as far as it or the frames in it tell."""
    own = getattr(method, "__self__", method)
    owners = (own, *(frame.f_locals.get("self") for frame in inside))
    return type(next((one for one in owners if isinstance(one, Callback)), own)).__name__


def _passes(frames: list[FrameType], module: str) -> bool:
    return any(frame.f_globals.get("__name__") == module for frame in frames)


def _under_way(frames: list[FrameType], run: Any) -> str:
    """What the loop itself was doing: a `Place.at`."""
    if run is None or not run.in_batch:
        if _passes(frames, Feed.__module__):
            return "reading"
        within = any(frame.f_code.co_name == "one_pass" for frame in frames)
        if within:
            return "pass"
        return "fit" if run is None or not run.n_iter else "epoch"
    return "batch"


def annotate(error: BaseException, run: Any) -> None:
    """Add notes to an error: where it was raised, and what is probably wrong."""
    try:
        notes = [*_notes(error, run), *of_field(error, run)]
    except Exception as failure:  # whatever happens here must not hide the user's error
        notes = [f"(Where it was raised could not be found out: {one_line(failure)}.)"]
    for note in notes:
        add_note(error, note)


def _notes(error: BaseException, run: Any) -> list[str]:
    place, at = where(error.__traceback__, run)
    idle = "the loop, between batches or reading one" if at == "reading" else "the loop"
    note = f"In {place or idle}, {position(run, at)}."
    if at == "batch":
        note += f" xb: {describe(run.xb)}; yb: {describe(run.yb)}"
        note += f"; pred: {describe(run.pred)}." if run.pred is not None else "."
    if at == "reading":
        return [*_in_a_worker(error), note]
    if place.split(" > ")[-1] == "step":
        return [note, *step_hints(error)]
    if not place.endswith(_WITH_HINTS):
        return [note, *(of_split(error) if _is_of_the_loop_itself(error) else [])]
    advice = hints(run.model, run.xb, run.yb, run.pred, run.loss, run.training, batch=run.batch)
    if place.endswith("compute_loss") and not advice:
        advice = of_order(run)
    return [note, *advice, *without_gradients(error, run), *of_one_item(error, run)]


def _is_of_the_loop_itself(error: BaseException) -> bool:
    """Whether a line of the loop that reads a batch has raised it, and nothing that it calls."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name == "one_pass"


def _in_a_worker(error: BaseException) -> list[str]:
    """Where in the user's code an error was raised, if its message has the traceback of a worker.

    torch's loader words the errors of its processes so; those of lehr's have their own note.
    """
    from lehr.base.tracebacks import frames_in, own_line

    line = own_line(frames_in(said(error)))
    return [] if line is None else [f"In a worker process, at {line}."]


def position(run: Any, at: str) -> str:
    """How far a run is, in words.

    Args:
        run: the run.
        at: as in `Place`.
    """
    if at == "fit":
        return f"after {run.n_steps} steps" if run.n_steps else "before the first step"
    half = "training" if run.training else f"validation {run.valid_name}".rstrip()
    index = run.batch_index + (at == "reading")
    return {"epoch": f"epoch {run.epoch}", "pass": f"epoch {run.epoch}, {half}"}.get(
        at, f"epoch {run.epoch}, {half} batch {index}"
    )


def misplaced(cancel: Cancel, run: Any) -> RuntimeError:
    """The error that a cancel becomes where it has no meaning."""
    kind = type(cancel).__name__
    place = where(cancel.__traceback__, run).text or "the loop"
    scope = {"CancelBatch": "batch", "CancelEpoch": "epoch"}.get(kind, "fit")
    over = place.endswith("after_fit")
    why = "the fit is over" if over else f"no {scope} is running"
    a_scope = "an epoch" if scope == "epoch" else f"a {scope}"
    do = "Take it out" if over else f"Raise it inside {a_scope}, or raise CancelFit here"
    return RuntimeError(
        f"{kind} was raised in {place}, where {why}: it has no meaning there. {do}; "
        "run.stop(reason) may be called anywhere."
    )

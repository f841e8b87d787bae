"""Who was at work when something went wrong, read from the traceback, and what is probably wrong.

Reading it after the fact keeps the loop free of any book-keeping for errors.
"""

import traceback
from types import TracebackType
from typing import Any

from lehr.base.nested import describe
from lehr.callback import Callback
from lehr.events import ACTIONS, EVENTS, Cancel
from lehr.loop.dispatch import fire
from lehr.loop.hints import hints

_WITH_HINTS = ("predict", "compute_loss", "backward", ".after_batch")


def where(error_traceback: TracebackType | None, run: Any) -> str:
    """Which event, action and callback were at work, outermost first; empty if it was the loop."""
    frames = [frame for frame, _ in traceback.walk_tb(error_traceback)]
    steps: list[str] = []
    for i, frame in enumerate(frames):
        name, owner = frame.f_code.co_name, frame.f_locals.get("self")
        if frame.f_code is fire.__code__ and frame not in frames[:i]:  # a cancel passes it twice
            known = frame.f_locals
            hears, on, called = known["listeners"], known["run"].loop.on, known["listener"]
            events = (event for event in EVENTS if getattr(on, event) is hears)
            owners = (inner.f_locals.get("self") for inner in frames[i + 1 :])
            who = next((o for o in owners if isinstance(o, Callback)), None)
            who = who or getattr(called, "__self__", called)
            steps.append(f"{type(who).__name__}.{next(events, 'an event')}")
        elif isinstance(owner, Callback) and name in ACTIONS:
            steps.append(f"{type(owner).__name__}.{name}")
        elif name in ACTIONS and getattr(owner, "run", None) is run:
            steps.append(name)
    return " > ".join(step for step in steps if step != "one_batch")


def annotate(error: BaseException, run: Any) -> None:
    """Add to an error what was going on and what is probably wrong; type and traceback stay."""
    try:
        notes = _notes(error, run)
    except Exception as failure:  # whatever happens here must not hide the user's error
        notes = [f"(What was going on could not be told: {failure!r}.)"]
    for note in notes:
        error.add_note(note)


def _notes(error: BaseException, run: Any) -> list[str]:
    place, reads = where(error.__traceback__, run), run.batch is None
    idle = "the loop, between batches or reading one" if reads else "the loop"
    note = f"In {place or idle}, {_position(run, reads and not place)}."
    if run.batch is not None:
        note += f" xb: {describe(run.xb)}; yb: {describe(run.yb)}"
        note += f"; pred: {describe(run.pred)}." if run.pred is not None else "."
    if not place.endswith(_WITH_HINTS):
        return [note]
    return [note, *hints(run.model, run.xb, run.yb, run.pred, run.loss)]


def _position(run: Any, reads: bool) -> str:
    half = "training" if run.training else f"validation {run.valid_name}".rstrip()
    return f"epoch {run.epoch}, {half} batch {run.batch_index + reads}"


def misplaced(cancel: Cancel, run: Any) -> RuntimeError:
    """The error that a cancel becomes where it has no meaning."""
    kind = type(cancel).__name__
    place = where(cancel.__traceback__, run) or "the loop"
    scope = {"CancelBatch": "batch", "CancelEpoch": "epoch"}.get(kind, "fit")
    over = place.endswith("after_fit")
    why = "the fit is over" if over else f"no {scope} is running"
    a_scope = "an epoch" if scope == "epoch" else f"a {scope}"
    do = "Take it out" if over else f"Raise it inside {a_scope}, or raise CancelFit here"
    return RuntimeError(
        f"{kind} was raised in {place}, where {why}: it has no meaning there. {do}; "
        "run.stop(reason) may be called anywhere."
    )

"""The published order: which callback watches an event first, and which wraps an action outermost.

The two tables name every callback that comes with lehr. A subclass of one has the place of its
parent. A user's own callback comes after those of its phase or layer, in the order of the list,
unless it declares ``before`` or ``after``.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from lehr.callback import Callback
from lehr.errors import did_you_mean
from lehr.events import ACTIONS, EVENTS, Layer, Phase
from lehr.loop.inventory import evaluates

WATCHING: Mapping[Phase, Sequence[str]] = {
    Phase.PREPARE: (
        "Device",
        "OptimizerModes",
        "MixedPrecision",
        "ParamScheduler",
        "Freeze",
        "Accumulate",
        "Closure",
        "SAM",
        "BatchTransform",
        "ProgressiveResizing",
        "RandomErasing",
        "StochasticDepth",
        "GradientCheckpointing",
        "MicroBatches",
        "GAN",
        "TruncatedBPTT",
        "Distillation",
    ),
    Phase.MEASURE: (
        "Lookahead",
        "EMA",
        "SWA",
        "EMATeacher",
        "Rehearsal",
        "Hooks",
        "ActivationStats",
        "GradientStats",
        "Metrics",
        "Recorder",
    ),
    Phase.DECIDE: (
        "Rewind",
        "StopOnNonFinite",
        "ReduceOnPlateau",
        "TorchScheduler",
        "EarlyStopping",
        "OptunaPruning",
        "Checkpoint",
    ),
    Phase.REPORT: (
        "CSVLog",
        "JSONLLog",
        "TensorBoardLog",
        "WandbLog",
        "MLflowLog",
        "Predictions",
        "Progress",
        "Timer",
    ),
}
"""Which callbacks watch an event, the first one first."""

WRAPPING: Mapping[Layer, Sequence[str]] = {
    Layer.CAPTURE: ("Predictions",),
    Layer.WINDOW: ("MicroBatches",),
    Layer.SEARCH: ("SAM",),
    Layer.PRECISION: ("MixedPrecision",),
    Layer.TRANSFORM: (
        "Rewind",
        "MixUp",
        "CutMix",
        "LabelSmoothing",
        "Distillation",
        "EMATeacher",
        "LossWeights",
        "TruncatedBPTT",
        "GAN",
    ),
    Layer.CLIP: ("ClipGradients", "GradientStats", "Closure"),
}
"""Which callbacks wrap an action, the outermost first."""


def in_phases(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks in the order in which they watch an event.

    Raises:
        ValueError: a ``before`` and an ``after`` contradict each other.

    Example:
        >>> from lehr.callbacks import Progress, Recorder
        >>> class Mine(Callback):
        ...     before = ("Recorder",)
        ...     def after_batch(self, run): ...
        >>> [type(callback).__name__ for callback in in_phases([Progress(), Recorder(), Mine()])]
        ['Mine', 'Recorder', 'Progress']
    """
    places = _places(watching_first=True)
    return _heeded(sorted(callbacks, key=lambda cb: (cb.phase, _place(cb, places))), EVENTS)


def watching(event: str, callbacks: Iterable[Callback]) -> list[Callback]:
    """Those that watch an event, in order.

    In `begin_fit`, the Recorder and those that take part in evaluations come first, after the phase
    *prepare*: `Rehearsal` validates there, and they have begun by then. There, too, ``before`` and
    ``after`` decide first.

    Raises:
        ValueError: a ``before`` and an ``after`` contradict each other.

    Example:
        >>> from lehr.callbacks import CSVLog, Recorder
        >>> class Mine(Callback):
        ...     evaluates = True
        ...     def begin_fit(self, run): ...
        >>> callbacks = [CSVLog("log.csv"), Mine(), Recorder()]
        >>> [type(callback).__name__ for callback in watching("begin_fit", callbacks)]
        ['Recorder', 'Mine', 'CSVLog']
    """
    if event != "begin_fit":
        return heard(event, in_phases(callbacks))
    who = (callback for callback in callbacks if hasattr(callback, event))
    places = _places(watching_first=True)
    usual = sorted(who, key=lambda cb: (_begins_late(cb), cb.phase, _place(cb, places)))
    return _heeded(usual, (event,))


def heard(event: str, callbacks: Iterable[Callback]) -> list[Callback]:
    """Those that have a method of the name of an event."""
    return [callback for callback in callbacks if hasattr(callback, event)]


def _begins_late(callback: Callback) -> bool:
    early = evaluates(callback) or _is_named(callback, ("Recorder",))
    return callback.phase != Phase.PREPARE and not early


def in_layers(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks in the order in which they wrap an action, outermost first.

    Raises:
        ValueError: a ``before`` and an ``after`` contradict each other.
    """
    places = _places(watching_first=False)
    return _heeded(sorted(callbacks, key=lambda cb: (cb.layer, _place(cb, places))), ACTIONS)


@cache
def _places(*, watching_first: bool) -> Mapping[str, int]:
    """The number of each name; those of the first order stand before those of the other alone."""
    orders = (WATCHING, WRAPPING) if watching_first else (WRAPPING, WATCHING)
    names = dict.fromkeys(name for order in orders for row in order.values() for name in row)
    return {name: i for i, name in enumerate(names)}


def _place(callback: Callback, places: Mapping[str, int]) -> int:
    """The place of a callback of ours, or of a subclass of one; a user's own come after them."""
    ours = (k.__name__ for k in type(callback).__mro__ if k.__module__.startswith("lehr.callbacks"))
    return next((places[name] for name in ours if name in places), len(places))


def _heeded(ordered: list[Callback], names: Sequence[str]) -> list[Callback]:
    """The order, with each callback that declares ``before`` or ``after`` moved to its place.

    Only callbacks with a method of one of these names move, and only they can be named.
    """
    waiting = [cb for cb in ordered if (cb.before or cb.after) and _has(cb, names)]
    if not waiting:
        return ordered
    placed = [callback for callback in ordered if callback not in waiting]
    while waiting:
        ready = [cb for cb in waiting if not any(_meant(cb, other) for other in waiting)]
        if not ready:
            kinds = ", ".join(type(callback).__name__ for callback in waiting)
            raise ValueError(
                f"before and after of {kinds} contradict one another: each waits for another. "
                "Take one of them out."
            )
        for callback in ready:
            waiting.remove(callback)
            placed = _inserted(callback, placed, ordered, names)
    return placed


def _inserted(
    callback: Callback,
    placed: Sequence[Callback],
    ordered: Sequence[Callback],
    names: Sequence[str],
) -> list[Callback]:
    """``placed`` with the callback in it, as near as may be to where it stood."""
    asked = [(i, other) for i, other in enumerate(placed) if _has(other, names)]
    later = [i for i, other in asked if _is_named(other, callback.before)]
    earlier = [i for i, other in asked if _is_named(other, callback.after)]
    lowest, highest = max(earlier, default=-1) + 1, min(later, default=len(placed))
    if lowest > highest:
        where = f" in {names[0]}" if len(names) == 1 else ""
        raise ValueError(
            f"{type(callback).__name__} cannot stand before {' and '.join(callback.before)} and "
            f"after {' and '.join(callback.after)}: they stand the other way round{where}. Take "
            "one out."
        )
    own = ordered.index(callback)
    usual = sum(ordered.index(other) < own for other in placed)
    at = min(max(usual, lowest), highest)
    return [*placed[:at], callback, *placed[at:]]


def _has(callback: Callback, names: Sequence[str]) -> bool:
    return any(hasattr(callback, name) for name in names)


def _meant(callback: Callback, other: Callback) -> bool:
    alike = type(other) is type(callback)
    return not alike and _is_named(other, (*callback.before, *callback.after))


def _is_named(callback: Callback, names: Sequence[str]) -> bool:
    return any(kind.__name__ in names for kind in type(callback).__mro__)


def check_names(callbacks: Sequence[Callback]) -> None:
    """See that every ``before`` and ``after`` names a callback of lehr's, or one that is there.

    Raises:
        ValueError: one names a callback that is not there.

    Example:
        >>> class Mine(Callback):
        ...     before = ("Recoder",)
        >>> check_names([Mine()])
        Traceback (most recent call last):
        ValueError: Mine.before names 'Recoder', which is no callback of lehr's and none that is
        attached. Did you mean Recorder?
    """
    known = {name for row in (*WATCHING.values(), *WRAPPING.values()) for name in row}
    kinds = [kind for callback in callbacks for kind in type(callback).__mro__]
    known |= {kind.__name__ for kind in kinds if kind not in (Callback, object)}
    for callback in callbacks:
        for attribute in ("before", "after"):
            for name in getattr(callback, attribute):
                if name not in known:
                    shown = sorted(name for name in known if name[0] != "_")
                    raise ValueError(
                        f"{type(callback).__name__}.{attribute} names {name!r}, which is no "
                        "callback of lehr's and none that is attached. "
                        f"{did_you_mean(name, shown)}"
                    )

"""The published order: who hears an event first, and who wraps an action outermost.

The two tables name every callback that comes with lehr. A subclass of one stands where its parent
does. A user's own callback stands after those of its phase or layer, in list order, unless it says
``before`` or ``after``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lehr.callback import Callback
from lehr.errors import did_you_mean
from lehr.events import Layer, Phase

HEARING: Mapping[Phase, Sequence[str]] = {
    Phase.PREPARE: ("Device", "ParamScheduler"),
    Phase.MEASURE: ("Metrics", "Recorder"),
    Phase.DECIDE: ("StopOnNonFinite", "ReduceOnPlateau", "EarlyStopping", "Checkpoint"),
    Phase.REPORT: ("CSVLog", "JSONLLog", "Predictions", "Progress"),
}
"""Who hears an event, the first first."""

WRAPPING: Mapping[Layer, Sequence[str]] = {
    Layer.CAPTURE: ("Predictions",),
    Layer.WINDOW: (),
    Layer.SEARCH: (),
    Layer.PRECISION: (),
    Layer.TRANSFORM: (),
    Layer.CLIP: (),
}
"""Who wraps an action, the outermost first."""


def in_phases(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks in the order in which they hear an event.

    Raises:
        ValueError: a ``before`` or ``after`` names nobody, or cannot be heeded.

    Example:
        >>> from lehr.callbacks import Progress, Recorder
        >>> class Mine(Callback):
        ...     before = ("Recorder",)
        >>> [type(callback).__name__ for callback in in_phases([Progress(), Recorder(), Mine()])]
        ['Mine', 'Recorder', 'Progress']
    """
    places = _places(HEARING, WRAPPING)
    return _heeded(sorted(callbacks, key=lambda cb: (cb.phase, _place(cb, places))))


def in_layers(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks in the order in which they wrap an action, outermost first.

    Raises:
        ValueError: a ``before`` or ``after`` names nobody, or cannot be heeded.
    """
    places = _places(WRAPPING, HEARING)
    return _heeded(sorted(callbacks, key=lambda cb: (cb.layer, _place(cb, places))))


def _places(*tables: Mapping[Any, Sequence[str]]) -> dict[str, int]:
    """The number of each name; who is in the first table stands before those who are not."""
    names = dict.fromkeys(name for table in tables for row in table.values() for name in row)
    return {name: i for i, name in enumerate(names)}


def _place(callback: Callback, places: Mapping[str, int]) -> int:
    """Where a callback of ours, or a subclass of one, stands; a user's own come after them."""
    ours = (k.__name__ for k in type(callback).__mro__ if k.__module__.startswith("lehr.callbacks"))
    return next((places[name] for name in ours if name in places), len(places))


def _heeded(ordered: list[Callback]) -> list[Callback]:
    """The order, with everybody who says ``before`` or ``after`` moved to where they want to be."""
    waiting = [callback for callback in ordered if callback.before or callback.after]
    if not waiting:
        return ordered
    for callback in waiting:
        _check_names(callback, ordered)
    result = list(ordered)
    placed = [callback for callback in ordered if callback not in waiting]
    while waiting:
        ready = [cb for cb in waiting if not any(_meant(cb, other) for other in waiting)]
        if not ready:
            names = ", ".join(type(callback).__name__ for callback in waiting)
            raise ValueError(
                f"before and after of {names} contradict one another: each waits for another. "
                "Take one of them out."
            )
        for callback in ready:
            waiting.remove(callback)
            placed = _inserted(callback, placed, result)
    return placed


def _inserted(
    callback: Callback, placed: Sequence[Callback], ordered: Sequence[Callback]
) -> list[Callback]:
    """``placed`` with the callback in it, as near as may be to where it stood."""
    later = [i for i, other in enumerate(placed) if _is_named(other, callback.before)]
    earlier = [i for i, other in enumerate(placed) if _is_named(other, callback.after)]
    lowest, highest = max(earlier, default=-1) + 1, min(later, default=len(placed))
    if lowest > highest:
        raise ValueError(
            f"{type(callback).__name__} cannot stand before {' and '.join(callback.before)} and "
            f"after {' and '.join(callback.after)}: they stand the other way round. Take one out."
        )
    own = ordered.index(callback)
    usual = sum(ordered.index(other) < own for other in placed)
    at = min(max(usual, lowest), highest)
    return [*placed[:at], callback, *placed[at:]]


def _meant(callback: Callback, other: Callback) -> bool:
    return other is not callback and _is_named(other, (*callback.before, *callback.after))


def _is_named(callback: Callback, names: Sequence[str]) -> bool:
    return any(kind.__name__ in names for kind in type(callback).__mro__)


def _check_names(callback: Callback, everybody: Iterable[Callback]) -> None:
    known = {name for row in (*HEARING.values(), *WRAPPING.values()) for name in row}
    known |= {kind.__name__ for other in everybody for kind in type(other).__mro__}
    for attribute in ("before", "after"):
        for name in getattr(callback, attribute):
            if name not in known:
                raise ValueError(
                    f"{type(callback).__name__}.{attribute} names {name!r}, which is no callback "
                    f"of lehr's and none that is attached. {did_you_mean(name, sorted(known))}"
                )

"""Compiled dispatch: every event becomes a tuple of bound methods, every action one callable.

An event that no callback watches is an empty tuple. An action that no callback wraps is the loop's
own method.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final

from lehr.base.interrupts import heeds_interrupts, leave
from lehr.callback import Callback
from lehr.events import ACTIONS, EVENTS, Cancel
from lehr.loop.order import heard, in_layers, in_phases, watching

Listener = Callable[[Any], None]
Act = Callable[[], None]


class Listeners:
    """For each event, the bound methods that watch it, in order."""

    __slots__ = EVENTS

    if TYPE_CHECKING:

        def __getattr__(self, event: str) -> tuple[Listener, ...]: ...

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        callbacks = list(callbacks)
        ordered = in_phases(callbacks)
        for event in EVENTS:
            first = event == "begin_fit"  # which has an order of its own
            who = watching(event, callbacks) if first else heard(event, ordered)
            setattr(self, event, tuple(getattr(callback, event) for callback in who))


class Actions:
    """For each action, one composed callable: outermost wrapper first, the loop's own last."""

    __slots__ = ACTIONS

    if TYPE_CHECKING:

        def __getattr__(self, action: str) -> Act: ...

    def __init__(self, callbacks: Iterable[Callback], run: Any, own: Mapping[str, Act]) -> None:
        ordered = in_layers(callbacks)
        for action in ACTIONS:
            composed = own[action]
            for callback in reversed(ordered):
                if hasattr(callback, action):
                    composed = partial(act, action, getattr(callback, action), run, composed)
            setattr(self, action, composed)


@heeds_interrupts
def fire(listeners: Sequence[Listener], run: Any) -> None:
    """Call every listener, whatever cancels they raise; then the widest of those takes effect."""
    cancel: Cancel | None = None
    try:
        for listener in listeners:
            try:
                if listener(run) is not None:
                    raise _returned(listener)
            except Cancel as request:
                if cancel is None or request.width > cancel.width:
                    cancel = request
        if cancel is not None:
            raise cancel
    finally:
        del cancel  # its traceback holds this frame: a cycle would keep the Learner alive


def act(action: str, wrapper: Callable[[Any, Act], None], run: Any, proceed: Act) -> None:
    """Call what wraps an action, and check that it returns nothing; ``action`` is for messages."""
    if wrapper(run, proceed) is not None:
        raise TypeError(
            f"{_name(wrapper)} returned a value, which the loop does not use: an action returns "
            "nothing. Write what it makes to the run, e.g. run.pred in predict, run.loss in "
            "compute_loss."
        )


@final
class around(AbstractContextManager[None]):  # noqa: N801 - it is read as `with around(callbacks, run)`
    """The scope of every `around_fit`, opened in phase order; none of them can swallow an error.

    It is a class, and no stack of `contextlib`: that one's frame would hold an error that one of
    them raises, which holds the frame, and so keep the Learner alive.
    """

    __slots__ = ("callbacks", "run", "scopes")

    def __init__(self, callbacks: Iterable[Callback], run: Any) -> None:
        self.callbacks, self.run = in_phases(callbacks), run
        self.scopes: list[AbstractContextManager[Any]] = []

    def __enter__(self) -> None:
        try:
            for callback in self.callbacks:
                if hasattr(callback, "around_fit"):
                    scope = _scope_of(callback, self.run)
                    scope.__enter__()
                    self.scopes.append(scope)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        last = error
        while self.scopes:
            last = _left(self.scopes.pop(), error, last)
        if last is None or last is error:
            return
        context = last.__context__
        try:
            raise last
        finally:
            last.__context__ = context  # which `raise` has changed
            del last, context  # their tracebacks hold this frame


def _left(
    scope: AbstractContextManager[Any], error: BaseException | None, last: BaseException | None
) -> BaseException | None:
    """Leave a scope with the last error; return that, or the one that it raises instead.

    ``error`` is the one that Python takes for what was under way.
    """
    try:
        leave(scope, last)
    except BaseException as raised:
        if raised is not last and raised.__context__ is error:
            raised.__context__ = last
        return raised
    else:
        return last
    finally:
        del error, last  # their tracebacks may hold this frame


def _scope_of(callback: Any, run: Any) -> AbstractContextManager[Any]:
    scope = callback.around_fit(run)
    if isinstance(scope, AbstractContextManager):
        return cast("AbstractContextManager[Any]", scope)
    raise TypeError(
        f"{type(callback).__name__}.around_fit must return a context manager; got {scope!r}. "
        "Write @contextlib.contextmanager above it, and yield once."
    )


def _returned(listener: Listener) -> TypeError:
    """The error for a listener that returned a value."""
    return TypeError(
        f"{_name(listener)} returned a value, which the loop does not use: an event returns "
        "nothing. To end the batch, epoch or fit, raise CancelBatch, CancelEpoch or CancelFit; to "
        "skip or replace what the loop does, define an action, e.g. def step(self, run, proceed), "
        "and do not call proceed()."
    )


def _name(method: Callable[..., Any]) -> str:
    owner = getattr(method, "__self__", None)
    name = getattr(method, "__name__", "the listener")
    return name if owner is None else f"{type(owner).__name__}.{name}"

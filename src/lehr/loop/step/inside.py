"""What callbacks do within a step, where the graph of the step includes it."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MethodType
from typing import Any, final

from torch import Tensor

from lehr.base.graph_part import GraphPart
from lehr.callback import Callback
from lehr.loop.order import in_layers, watching
from lehr.loop.step.graphs import (
    BACKWARD,
    FINISH,
    LOSS,
    PREDICT,
    STEPPED,
    Function,
    Place,
)
from lehr.loop.step.returned import check_changes
from lehr.loop.step.scalars import Numbers


def offers(callback: Callback, method: str) -> bool:
    """Whether a callback has a function for the graph that does what this method of it does.

    A subclass that changes the method has none, unless it changes `graph_part` as well.

    Example:
        >>> from lehr.callbacks import ClipGradients
        >>> class Mine(ClipGradients):
        ...     def finish_grad(self, run, proceed): ...
        >>> offers(ClipGradients(1.0), "finish_grad"), offers(Mine(1.0), "finish_grad")
        (True, False)
    """
    if method not in callback.in_graph:
        return False
    for names in (vars(callback), *(vars(kind) for kind in type(callback).__mro__)):
        if "graph_part" in names:
            return True
        if method in names:
            return False
    return False


def included(callbacks: Iterable[Callback]) -> list[tuple[str, Callback]]:
    """Which methods of which callbacks are in the graph, in the order in which they are called.

    In after_step, that ends where another callback is in between, which may change the weights.

    Example:
        >>> from lehr.callbacks import EMA, ClipGradients
        >>> included([EMA(0.9), ClipGradients(1.0)])
        [('finish_grad', ClipGradients(1.0)), ('after_step', EMA(0.9))]
    """
    callbacks = list(callbacks)
    found = [
        (action, callback)
        for action in (PREDICT, LOSS, BACKWARD, FINISH)
        for callback in in_layers(callbacks)
        if offers(callback, action)
    ]
    for callback in watching(STEPPED, callbacks):
        if not offers(callback, STEPPED):
            break
        found.append((STEPPED, callback))
    return found


@final
class Inside:
    """The callbacks of a run that have a part in the graph of its steps.

    Args:
        callbacks: of the run.
    """

    __slots__ = ("_asked", "_callbacks", "_logs")

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = included(callbacks)
        self._asked: list[GraphPart] = []
        self._logs: Mapping[int, Mapping[str, Tensor]] = {}

    def names(self) -> list[str]:
        """Whose methods they are, in order; for each of them, the class and the method."""
        return [f"{type(callback).__name__}.{method}" for method, callback in self._callbacks]

    def ask(self, run: Any, place: Place = "whole") -> tuple[Any, ...]:
        """Ask each for its part in the batch that comes; returns what the graph holds of them.

        A batch that only adds to the gradient has the parts of every batch, which come first.
        """
        of_batch = (PREDICT, LOSS, BACKWARD)
        methods = of_batch if place == "gather" else (*of_batch, FINISH, STEPPED)
        self._logs = {}
        self._asked = [
            callback.graph_part(method, run)
            for method, callback in self._callbacks
            if method in methods
        ]
        return tuple(part.shape for part in self._asked)

    def why_another(self, before: tuple[Any, ...], now: tuple[Any, ...]) -> str:
        """Whose part needs another graph than before, and what to do that it does not, in words.

        Args:
            before: what `ask` returned.
            now: what it returned after that.
        """
        pairs = zip(self._callbacks, before, now, strict=False)
        (method, callback), old, new = next(pair for pair in pairs if pair[1] != pair[2])
        who = f"{type(callback).__name__}.graph_part"
        if old[0] != new[0]:
            return (
                f"the function that {who} returns for {method} keeps changing: a lambda, an inner "
                "function or a partial that is made in each call is another one every time. Return "
                "a function of a module, and give it what it needs as numbers, tensors or fixed"
            )
        name = next((name for name, _ in {*old[1]} ^ {*new[1]}), "their order")
        return (
            f"{name!r}, which {who} returns as fixed for {method}, keeps changing, and the graph "
            "holds it; return it as one of the numbers or tensors, or leave its schedule out"
        )

    def check(self, trained: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
        """Refuse what functions return that the graph could not write; see `check_changes`.

        Args:
            trained: the parameters whose gradients there are, by name.
            others: the other parameters, and the buffers.
        """
        for (method, callback), part in zip(self._callbacks, self._asked, strict=False):
            if method in (FINISH, STEPPED):
                who = f"the function of {type(callback).__name__} for {method}"
                values = trained if method == FINISH else {**trained, **others}
                check_changes(who, part, values, skips=method == FINISH)

    def functions(self) -> list[Function]:
        """What each of them does in the graph, as they were asked last."""
        return [
            Function(method, partial(part.function, **part.fixed))
            for (method, _), part in zip(self._callbacks, self._asked, strict=False)
        ]

    def given(self, numbers: Numbers) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """The tensors and numbers of each, as they were asked last."""
        return [
            (
                dict(part.tensors),
                {
                    name: numbers["inside", i, name].of(value)
                    for name, value in part.numbers.items()
                },
            )
            for i, part in enumerate(self._asked)
        ]

    def made(self, logs: Mapping[int, Mapping[str, Tensor]]) -> None:
        """The step was made, and each has these numbers to log."""
        self._logs = logs

    def end(self, method: str, run: Any) -> None:
        """What is left of this method, after a fused step."""
        for number, (of, _) in enumerate(self._callbacks):
            if of == method:
                self._end(number, run)

    def heard(self, listeners: Iterable[Callable[[Any], None]]) -> list[Callable[[Any], None]]:
        """Those listeners of after_step that the graph does the work of."""
        own = [id(callback) for method, callback in self._callbacks if method == STEPPED]
        return [one for one in listeners if id(getattr(one, "__self__", None)) in own]

    def does(self, method: str) -> bool:
        """Whether the graph does what callbacks do in this method."""
        return any(of == method for of, _ in self._callbacks)

    def listener(self, listener: Callable[[Any], None], fused: Callable[[], bool]) -> Any:
        """A listener of after_step, which does only what is left where the graph has done it."""
        for number, (method, callback) in enumerate(self._callbacks):
            if method == STEPPED and getattr(listener, "__self__", None) is callback:
                return MethodType(self._shortened(number, listener, fused), callback)
        return listener

    def _shortened(self, number: int, listener: Any, fused: Callable[[], bool]) -> Any:
        def after_step(callback: Callback, run: Any) -> None:
            if not fused():
                return listener(run)  # and what it returned is told, if it did
            return self._end(number, run)

        return after_step

    def _end(self, number: int, run: Any) -> None:
        for name, value in self._logs.get(number, {}).items():
            run.log(name, value)
        if (done := self._asked[number].done) is not None:
            done()

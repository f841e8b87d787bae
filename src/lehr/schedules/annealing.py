"""What a schedule is, and the two decorators that make one of a function."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ParamSpec, cast, final

from lehr.base import drawing
from lehr.errors import real_number

P = ParamSpec("P")
Curve = Callable[[float], float]  # what a phase may be: a Schedule, or any function of the position


@final
@dataclass(frozen=True, repr=False)
class Schedule:
    """A function from position to value; its repr is the expression that made it.

    Schedules with equal expressions are equal. Pickle and copy evaluate the expression again.

    Example:
        >>> from lehr.schedules import sched_lin
        >>> s = sched_lin(start=1.0, end=2)
        >>> s, s(0.3), s == sched_lin(1, 2)
        (sched_lin(1, 2), 1.3, True)
    """

    factory: Callable[..., "Schedule"]
    arguments: tuple[Any, ...]  # one for each parameter of the factory, lists as tuples
    function: Curve = field(compare=False)

    def __call__(self, pos: float) -> float:
        """The value at ``pos``, a number in [0, 1] (TypeError or ValueError if it is none)."""
        if not hasattr(pos, "__float__"):
            raise TypeError(f"pos must be a number; got {pos!r}. Give the share that is done.")
        pos = float(pos)  # it may be a 0-d tensor, as in `for pos in torch.linspace(0, 1, 9)`
        if not 0.0 <= pos <= 1.0:
            todo = "Give the share of the fit that is done, e.g. n_steps / planned_steps."
            raise ValueError(f"pos must be within [0, 1]; got {pos}. {todo}")
        return float(self.function(pos))

    def __repr__(self) -> str:
        parts: list[str] = []
        by_name = False
        parameters = inspect.signature(self.factory).parameters.values()
        for parameter, value in zip(parameters, self.arguments, strict=True):
            if parameter.default is not parameter.empty and value == _frozen(parameter.default):
                by_name = True  # this one is left out, so the next needs its name
                continue
            by_name |= parameter.kind is parameter.KEYWORD_ONLY
            parts.append(f"{parameter.name}={expression(value)}" if by_name else expression(value))
        return f"{self.factory.__name__}({', '.join(parts)})"

    def __reduce__(self) -> tuple[Callable[[], "Schedule"], tuple[()]]:
        names = inspect.signature(self.factory).parameters
        return functools.partial(self.factory, **dict(zip(names, self.arguments, strict=True))), ()

    def plot(self, ax: Any = None) -> Any:
        """Draws the value over the position on ``ax`` (None: new axes); returns the figure."""
        title = {"title": repr(self)} if ax is None else {}
        ax = drawing.axes(ax)
        at = [i / 1000 for i in range(1001)]
        ax.plot(at, [self(pos) for pos in at], label=repr(self))
        ax.set(xlabel="share of the fit", ylabel="value", **title)
        return ax.figure


def schedule(factory: Callable[P, Curve]) -> Callable[P, Schedule]:
    """Makes a function that returns a function of the position return a `Schedule`; a decorator.

    Name, docstring and signature stay. Arguments annotated ``float`` are checked to be finite
    numbers and arrive as floats; lists arrive as tuples. Each parameter must have a name.

    Example:
        >>> @schedule
        ... def triangle(high: float):
        ...     return lambda pos: high * (1 - abs(2 * pos - 1))
        >>> triangle(4), triangle(4)(0.25)
        (triangle(4), 2.0)
    """
    signature = inspect.signature(factory).replace(return_annotation=Schedule)
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            todo = "Give each a name, and take several values as one list."
            raise TypeError(f"a schedule's arguments must have names; got {parameter}. {todo}")

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            takes = ", ".join(signature.parameters)
            raise TypeError(f"{factory.__name__}: {error}. It takes ({takes}).") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            is_float = signature.parameters[name].annotation in (float, "float")
            bound.arguments[name] = real_number(name, value) if is_float else _frozen(value)
        function = factory(*bound.args, **bound.kwargs)
        return Schedule(make, tuple(bound.arguments.values()), function)

    vars(make)["__signature__"] = signature
    return make


def annealer(f: Callable[[float, float, float], float]) -> Callable[[float, float], Schedule]:
    """Makes ``f(start, end, pos)`` a factory ``(start, end)`` of schedules; a decorator.

    Name and docstring stay, the signature shows ``(start, end)``, and its schedules can be pickled.

    Example:
        >>> @annealer
        ... def sched_square(start, end, pos):
        ...     return start + pos**2 * (end - start)
        >>> sched_square(0, 8), sched_square(0, 8)(0.5)
        (sched_square(0, 8), 2.0)
    """

    def factory(start: float, end: float) -> Curve:
        return functools.partial(f, start, end)

    visible = inspect.signature(factory)  # after update_wrapper it would show pos, too
    functools.update_wrapper(factory, f, ("__module__", "__name__", "__qualname__", "__doc__"))
    vars(factory)["__signature__"] = visible
    return schedule(factory)


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in cast(Sequence[Any], value))
    return float(value) if isinstance(value, Real) and not isinstance(value, Integral) else value


def expression(value: Any) -> str:
    """The shortest expression that makes ``value`` again.

    Example:
        >>> expression((0.3, 0.70, 1.0))
        '[0.3, 0.7, 1]'
    """
    if isinstance(value, tuple):
        return f"[{', '.join(map(expression, cast(tuple[Any, ...], value)))}]"
    if isinstance(value, Real):
        return str(value).removesuffix(".0")
    return getattr(value, "__qualname__", None) or repr(value)

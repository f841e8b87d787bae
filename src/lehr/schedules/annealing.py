"""The two decorators that make a schedule of a function."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

from lehr.errors import real_number
from lehr.schedules.algebra import Schedule, frozen
from lehr.schedules.chain import Curve

P = ParamSpec("P")


def makes_schedule(factory: Callable[P, Curve]) -> Callable[P, Schedule]:
    """Makes a function that returns a function of the position return a `Schedule`; a decorator.

    Name, docstring and signature stay. Arguments annotated ``float`` are checked to be finite
    numbers and arrive as floats; lists arrive as tuples. Each parameter must have a name. It is
    what `lehr.schedules.schedule` does as a decorator.

    Example:
        >>> @makes_schedule
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
            bound.arguments[name] = real_number(name, value) if is_float else frozen(value)
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
    return makes_schedule(factory)

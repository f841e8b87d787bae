"""Schedules from text: the expressions that print them, read back without running any code."""

import ast
import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, cast, overload

from lehr.errors import did_you_mean
from lehr.schedules import annealing, shapes
from lehr.schedules.algebra import Part, Schedule
from lehr.schedules.chain import Curve

P = ParamSpec("P")

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.RShift: operator.rshift,
    ast.Add: operator.add,
    ast.Mult: operator.mul,
}
_MOST_CHARACTERS = 1000  # keeps the nesting far below what Python's parser and stack can take
_LARGEST = sys.float_info.max


@overload
def schedule(made_from: str) -> Schedule: ...
@overload
def schedule(made_from: Callable[P, Curve]) -> Callable[P, Schedule]: ...
def schedule(made_from: Any) -> Any:
    """The schedule that a text describes; or, as a decorator, a factory of schedules.

    The text is read, not run: it may hold calls of the factories of `lehr.schedules`, with numbers
    and lists, put together with ``>>``, ``+``, ``*``, ``over``, ``rounded`` and ``per_group``, and
    nothing else. What a schedule prints comes back as its equal, if all factories in it are lehr's.

    As a decorator it makes a function that returns a function of the position return a `Schedule`.
    Name, docstring and signature stay. Arguments annotated ``float`` are checked to be finite
    numbers and arrive as floats; lists arrive as tuples. Each parameter must have a name.

    Args:
        made_from: the text, of at most 1000 characters; or the function to decorate.

    Raises:
        TypeError: it is neither, or an argument in the text has the wrong kind.
        ValueError: the text is no such expression, or a number in it is out of its range.

    Example:
        >>> schedule("warmup(0.05) >> cosine(1e-3, 0)")
        warmup(0.05) >> sched_cos(0.001, 0)
        >>> @schedule
        ... def triangle(high: float):
        ...     return lambda pos: high * (1 - abs(2 * pos - 1))
        >>> triangle(4), triangle(4)(0.25)
        (triangle(4), 2.0)
    """
    if callable(made_from):
        return annealing.makes_schedule(cast("Callable[..., Curve]", made_from))
    return parse_schedule(made_from)


def parse_schedule(text: str, peak: float | None = None) -> Schedule:
    """The schedule that an expression describes; see `schedule`.

    Args:
        text: such as ``"one_cycle(0.5, pct_start=0.3)"``; or, if ``peak`` is given, the bare name
            of one of `schedule_names`.
        peak: what a bare name is called with; None refuses bare names.

    Returns:
        The schedule.

    Raises:
        TypeError: ``text`` is no text, or an argument in it has the wrong kind.
        ValueError: it is no such expression, or a number in it is out of its range.

    Example:
        >>> f = parse_schedule("combine_scheds([0.3, 0.7], [sched_cos(0, 1), sched_cos(1, 0)])")
        >>> f(0.3), parse_schedule(repr(f)) == f
        (1.0, True)
        >>> parse_schedule("one_cycle", peak=0.5)
        one_cycle(0.5)
    """
    if not isinstance(text, str):
        raise TypeError(f"schedule must be text; got {text!r}. Give e.g. 'one_cycle(0.5)'.")
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(
            f"schedule must have at most {_MOST_CHARACTERS} characters; got {len(text)}. "
            "Write it in Python instead, for ParamScheduler."
        )
    text = text.strip()
    if peak is not None and text in schedule_names():
        text = f"{text}({peak!r})"
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "it is no Python text"
        raise ValueError(
            f"schedule must be an expression such as one_cycle(0.5); got {text!r}: {why}."
        ) from None
    if isinstance(tree, ast.Name):
        takes = ", ".join(inspect.signature(_factory(tree.id)).parameters)
        raise ValueError(
            f"schedule {text!r} needs its arguments: it takes ({takes}). Write them, as in "
            "one_cycle(0.5)."
        )
    result = _value(tree, text)
    if not isinstance(result, Schedule):
        several = isinstance(tree, ast.Call)
        todo = "Give them to combine_scheds." if several else "Write e.g. constant(0.1)."
        raise ValueError(f"schedule must be one schedule; got {text!r}. {todo}")
    for one in result.groups or (result,):
        one(0.0)  # an error if it is only a phase
    return result


def schedule_names() -> list[str]:
    """Every factory that needs one number, so that its name alone can be used with a ``peak``.

    Example:
        >>> schedule_names()
        ['constant', 'one_cycle', 'warmup_cosine', 'warmup_linear']
    """
    return [
        name
        for name, factory in _factories().items()
        if _needs(factory) == ["float"] and not isinstance(factory(0.5).function, Part)
    ]


def _needs(factory: Callable[..., Any]) -> list[str]:
    """The annotations of the arguments without default, as text."""
    needed = [p for p in inspect.signature(factory).parameters.values() if p.default is p.empty]
    return [getattr(p.annotation, "__name__", str(p.annotation)) for p in needed]


def _factories() -> dict[str, Callable[..., Any]]:
    """What an expression may call: public functions there that return one schedule or several."""
    return {
        name: value
        for name, value in vars(shapes).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and inspect.signature(value).return_annotation in (Schedule, list[Schedule])
    }


def _factory(name: str) -> Callable[..., Any]:
    known = _factories()
    if name not in known:
        raise ValueError(f"there is no schedule {name!r}. {did_you_mean(name, known)}")
    return known[name]


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            factory = _factory(name)
            named = {k.arg: _value(k.value, text) for k in keywords if k.arg is not None}
            if len(named) == len(keywords):  # else there is a **
                return factory(*(_value(arg, text) for arg in args), **named)
        case ast.Call(
            func=ast.Attribute(value=inner, attr="over" | "rounded" | "per_group" as method),
            args=args,
            keywords=keywords,
        ):
            owner = _value(inner, text)
            named = {k.arg: _value(k.value, text) for k in keywords if k.arg is not None}
            if isinstance(owner, Schedule) and len(named) == len(keywords):
                return getattr(owner, method)(*(_value(arg, text) for arg in args), **named)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            a, b = _value(left, text), _value(right, text)
            if isinstance(a, Schedule) or isinstance(b, Schedule):
                return _OPERATORS[type(sign)](a, b)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, text) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as number):
            return -_value(number, text) or -0.0  # no int is
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if abs(number) > _LARGEST:
                raise ValueError(f"a schedule's numbers must be finite; got {text!r}. Correct it.")
            return number
        case _:
            pass
    raise ValueError(
        "schedule may hold calls of lehr.schedules, numbers and lists, no other code than >>, +, "
        "*, over, rounded and per_group; got "
        f"{ast.get_source_segment(text, node)!r}. Write e.g. one_cycle(0.5, pct_start=0.3)."
    )

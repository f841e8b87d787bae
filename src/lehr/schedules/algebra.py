"""What a schedule is, and how schedules are made of others: ``>>``, ``+``, ``*`` and its methods.

Whatever they are made of, schedules print as the expression that makes them again.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, NoReturn, cast, final

from lehr.base import drawing
from lehr.errors import real_number
from lehr.schedules.chain import Curve, divided, in_turn


@final
@dataclass(frozen=True, repr=False)
class Schedule:
    """A function from position to value; its repr is the expression that made it.

    Schedules with equal expressions are equal. Pickle and copy evaluate the expression again.

    - ``a >> b`` is one after the other. A phase takes the share that `over` gives it; those without
      one share equally what is left. How a chain is put in brackets makes no difference. A
      `lehr.schedules.warmup` ends where the next phase begins.
    - ``a + b`` and ``a * b`` are sum and product at every position; ``2 * a`` is scaled.
    - `over`, `rounded` and `per_group` are described below.

    Example:
        >>> from lehr.schedules import cosine, linear, warmup
        >>> s = linear(start=1.0, end=2)
        >>> s, s(0.3), s == linear(1, 2)
        (sched_lin(1, 2), 1.3, True)
        >>> t = warmup(0.2) >> 2 * cosine(0.4, 0)
        >>> t, [round(t(pos), 6) for pos in (0, 0.1, 0.2, 0.6, 1)]
        (warmup(0.2) >> 2 * sched_cos(0.4, 0), [0.0, 0.4, 0.8, 0.4, 0.0])
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

    def over(self, share: float) -> "Schedule":
        """A phase of a chain: this schedule, which takes ``share`` of it, between 0 and 1.

        Example:
            >>> from lehr.schedules import constant, linear
            >>> f = constant(1).over(0.8) >> linear(1, 0)
            >>> f, f(0.5), f(0.9)
            (constant(1).over(0.8) >> sched_lin(1, 0), 1.0, 0.5)
        """
        return over(self, share)

    def rounded(self, to: float = 1.0) -> "Schedule":
        """The nearest multiple of ``to`` (above 0), for sizes and counts; halves go up.

        Example:
            >>> from lehr.schedules import linear
            >>> [linear(128, 224).rounded(32)(pos) for pos in (0, 0.3, 0.5, 1)]
            [128.0, 160.0, 192.0, 224.0]
        """
        return rounded(self, to)

    def per_group(self, factors: Sequence[float]) -> "Schedule":
        """For a `ParamScheduler`: this schedule, times a factor for each parameter group.

        Args:
            factors: one for each group of the optimizer, in their order.

        Example:
            >>> from lehr.schedules import linear
            >>> f = linear(1, 0).per_group([0.1, 1])
            >>> f, [one(0.5) for one in f.groups]
            (sched_lin(1, 0).per_group([0.1, 1]), [0.05, 0.5])
        """
        return per_group(self, factors)

    @property
    def groups(self) -> tuple["Schedule", ...]:
        """The schedule of each parameter group; none if it is one for all."""
        if not isinstance(self.function, PerGroup):
            return ()
        return tuple(times(factor, self.function.schedule) for factor in self.function.factors)

    def __add__(self, other: Curve | float) -> "Schedule":
        return plus(self, other)

    def __radd__(self, other: Curve | float) -> "Schedule":
        return plus(other, self)

    def __mul__(self, other: Curve | float) -> "Schedule":
        return times(self, other)

    def __rmul__(self, other: Curve | float) -> "Schedule":
        return times(other, self)

    def __rshift__(self, other: Curve) -> "Schedule":
        return then([self, other])

    def __rrshift__(self, other: Curve) -> "Schedule":
        return then([other, self])

    def __repr__(self) -> str:
        return _printed(self)

    def __reduce__(self) -> tuple[Callable[[], "Schedule"], tuple[()]]:
        names = inspect.signature(self.factory).parameters
        return functools.partial(self.factory, **dict(zip(names, self.arguments, strict=True))), ()

    def plot(self, ax: Any = None) -> Any:
        """Draws the value over the position on ``ax`` (None: new axes); returns the figure."""
        title = {"title": repr(self)} if ax is None else {}
        ax = drawing.axes(ax)
        at = [i / 1000 for i in range(1001)]
        for number, one in enumerate(self.groups or (self,)):
            label = f"group {number}" if self.groups else repr(self)
            ax.plot(at, [one(pos) for pos in at], label=label)
        if self.groups:
            ax.legend()
        ax.set(xlabel="share of the fit", ylabel="value", **title)
        return ax.figure


# What a schedule may have as its function, besides a function of the position ---------------------


@dataclass(frozen=True)
class Part:
    """A phase of a chain that is no schedule by itself.

    Example:
        >>> Part(0.5, lambda following: lambda pos: following)(0.0)
        Traceback (most recent call last):
        ValueError: this is only a phase that takes 0.5 of a schedule, and has no value by itself.
        Chain it with another, e.g. warmup(0.05) >> cosine(0.001, 0).
    """

    share: float
    """how much of the chain it takes"""
    curve: Callable[[float], Curve]
    """the curve, made of the first value of what follows"""
    ends: bool = False
    """whether a chain may end with it"""

    def __call__(self, pos: float) -> NoReturn:
        """It has no value by itself."""
        raise ValueError(
            f"this is only a phase that takes {self.share:g} of a schedule, and has no value by "
            "itself. Chain it with another, e.g. warmup(0.05) >> cosine(0.001, 0)."
        )


@dataclass(frozen=True)
class PerGroup:
    """A factor of one schedule for each parameter group."""

    schedule: Curve
    """what all groups share"""
    factors: tuple[float, ...]
    """one for each group"""

    def __call__(self, pos: float) -> NoReturn:
        """It has as many values as there are groups."""
        raise ValueError(
            f"a schedule per group has {len(self.factors)} values at a position, not one. Give it "
            "to a ParamScheduler as it is, or take one of its groups, e.g. s.groups[0]."
        )


def _unfinished(pos: float) -> NoReturn:
    raise ValueError(
        "this chain of phases is not a whole schedule yet: its last phase needs another after it, "
        "or their shares sum to less than 1. Go on with one that takes the rest, e.g. "
        ">> cosine(0.001, 0)."
    )


# The operations ----------------------------------------------------------------------------------


def whole(name: str, value: Any) -> Any:
    """A schedule, or another function of the position, that has a value at every position.

    Raises:
        TypeError: it is none; ``name`` is what the message calls it.
        ValueError: it is a phase of a chain, or per group.

    Example:
        >>> whole("schedule", 0.1)
        Traceback (most recent call last):
        TypeError: schedule must be a schedule; got 0.1. Use constant(...).
    """
    if not callable(value):
        raise TypeError(f"{name} must be a schedule; got {value!r}. Use constant(...).")
    if isinstance(value, Schedule):
        value(0.0)
    return value


def _operand(value: Any) -> tuple[Any, Curve]:
    """What is kept as an argument, and the curve that it stands for."""
    if isinstance(value, Real):
        number = real_number("a number in a schedule", value)
        return number, lambda pos: number
    return whole("what a schedule is added to or multiplied by", value), value


def plus(a: Any, b: Any) -> Schedule:
    """The sum of two schedules, or of a schedule and a number, at every position."""
    (a, f), (b, g) = _operand(a), _operand(b)
    return Schedule(plus, (a, b), lambda pos: f(pos) + g(pos))


def times(a: Any, b: Any) -> Schedule:
    """The product of two schedules, or of a number and a schedule, at every position."""
    if isinstance(b, Real):
        a, b = b, a  # a number comes first
    (a, f), (b, g) = _operand(a), _operand(b)
    return Schedule(times, (a, b), lambda pos: f(pos) * g(pos))


def then(phases: Sequence[Any]) -> Schedule:
    """Phases one after another; those of a chain are taken one by one."""
    listed: list[Any] = []
    for phase in phases:
        chained = isinstance(phase, Schedule) and phase.factory is then
        listed += phase.arguments[0] if chained else [_phase(phase)]
    parts = [phase.function if isinstance(phase, Schedule) else phase for phase in listed]
    shares = divided([part.share if isinstance(part, Part) else None for part in parts])
    last = parts[-1]
    if shares is None or (isinstance(last, Part) and not last.ends):
        return Schedule(then, (tuple(listed),), _unfinished)
    curves: list[Curve] = []
    following = 0.0
    for part in reversed(parts):
        curves.insert(0, part.curve(following) if isinstance(part, Part) else part)
        following = float(curves[0](0.0))
    return Schedule(then, (tuple(listed),), in_turn(shares, curves))


def _phase(phase: Any) -> Any:
    part = isinstance(phase, Schedule) and isinstance(phase.function, Part)
    return phase if part else whole("a phase", phase)


def over(schedule: Any, share: float) -> Schedule:
    """See `Schedule.over`."""
    inner = whole("schedule", schedule)
    share = between_0_and_1("share", share)
    return Schedule(over, (schedule, share), Part(share, lambda following: inner, ends=True))


def rounded(schedule: Any, to: float = 1.0) -> Schedule:
    """See `Schedule.rounded`."""
    inner, to = whole("schedule", schedule), real_number("to", to)
    if to <= 0:
        raise ValueError(f"to must be above 0; got {expression(to)}. Give e.g. to=32.")
    return Schedule(rounded, (schedule, to), lambda pos: math.floor(inner(pos) / to + 0.5) * to)


def per_group(schedule: Any, factors: Sequence[float]) -> Schedule:
    """See `Schedule.per_group`."""
    inner = whole("schedule", schedule)
    if not isinstance(factors, list | tuple) or not factors:
        raise TypeError(
            f"factors must be a list of numbers, one for each group; got {factors!r}. Write e.g. "
            "per_group([0.1, 1])."
        )
    own = tuple(real_number(f"factors[{i}]", factor) for i, factor in enumerate(factors))
    return Schedule(per_group, (schedule, own), PerGroup(inner, own))


def between_0_and_1(name: str, share: float) -> float:
    """A number between 0 and 1, both exclusive.

    Raises:
        TypeError, ValueError: it is none; ``name`` is what the message calls it.

    Example:
        >>> between_0_and_1("share", 0.25)
        0.25
    """
    if not 0.0 < real_number(name, share) < 1.0:
        raise ValueError(
            f"{name} must be between 0 and 1, exclusive; got {expression(share)}. Give e.g. "
            f"{name}=0.25."
        )
    return float(share)


# How they print ----------------------------------------------------------------------------------

_CHAIN, _SUM, _PRODUCT, _CALL = range(4)  # what binds more tightly comes later
_OPERATORS = {then: (" >> ", _CHAIN), plus: (" + ", _SUM), times: (" * ", _PRODUCT)}
_METHODS = (over, rounded, per_group)


def _printed(schedule: Schedule) -> str:
    factory, arguments = schedule.factory, schedule.arguments
    if factory in _OPERATORS:
        sign, level = _OPERATORS[factory]
        first, *others = arguments[0] if factory is then else arguments
        texts = [_operand_text(first, level), *(_operand_text(one, level + 1) for one in others)]
        return sign.join(texts)
    parameters = list(inspect.signature(factory).parameters.values())
    before = ""
    if factory in _METHODS:
        before = f"{_operand_text(arguments[0], _CALL)}."
        parameters, arguments = parameters[1:], arguments[1:]
    parts: list[str] = []
    by_name = False
    for parameter, value in zip(parameters, arguments, strict=True):
        if parameter.default is not parameter.empty and value == frozen(parameter.default):
            by_name = True  # this one is left out, so the next needs its name
            continue
        by_name |= parameter.kind is parameter.KEYWORD_ONLY
        parts.append(f"{parameter.name}={expression(value)}" if by_name else expression(value))
    return f"{before}{factory.__name__}({', '.join(parts)})"


def _operand_text(value: Any, level: int) -> str:
    """An operand, in brackets if it binds less tightly than is needed where it stands."""
    own = _OPERATORS.get(value.factory, ("", _CALL))[1] if isinstance(value, Schedule) else _CALL
    return expression(value) if own >= level else f"({expression(value)})"


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


def frozen(value: Any) -> Any:
    """An argument as a schedule keeps it: lists as tuples, real numbers as floats.

    Example:
        >>> frozen([1, 0.5, [2]])
        (1, 0.5, (2,))
    """
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in cast(Sequence[Any], value))
    return float(value) if isinstance(value, Real) and not isinstance(value, Integral) else value

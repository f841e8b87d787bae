"""Words for what went wrong: what arrived, what is allowed, what to do."""

import difflib
import math
from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral, Real
from typing import Any

_LEAST, _MOST = 1e-30, 1e30  # of what a loss is multiplied with, in single precision


class ResumeWarning(UserWarning):
    """A run that goes on from a checkpoint may not be bit for bit the run that never stopped."""


class RemoteRankError(RuntimeError):
    """Another process failed, is lost, or has gone another way."""


def add_note(error: BaseException, text: str) -> None:
    """Add a note to an error, whatever its class does: one that takes none stays without.

    Example:
        >>> error = ValueError("mine")
        >>> add_note(error, "In the loop."); error.__notes__
        ['In the loop.']
    """
    with suppress(BaseException):
        BaseException.add_note(error, text)


def sentence(error: BaseException) -> str:
    """What an error says, with one full stop at its end.

    Example:
        >>> sentence(ValueError("it is empty")), sentence(ValueError("It is empty."))
        ('it is empty.', 'It is empty.')
    """
    return f"{said(error).rstrip('.')}."


def said(error: BaseException) -> str:
    """What an error says, also if its class has a ``__str__`` that fails.

    Example:
        >>> said(ValueError("mine"))
        'mine'
    """
    try:
        return str(error)
    except BaseException:
        return "what it says cannot be shown"


def notes_of(error: BaseException) -> list[str]:
    """The notes of an error, as far as they can be read.

    Example:
        >>> error = ValueError("mine")
        >>> add_note(error, "In the loop."); notes_of(error)
        ['In the loop.']
    """
    with suppress(BaseException):
        return [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]
    return []


def one_line(error: BaseException) -> str:
    """An error in one line, also if its class has a ``__repr__`` that fails.

    Example:
        >>> one_line(ValueError("mine"))
        "ValueError('mine')"
        >>> print(one_line(FileNotFoundError(2, "Not there", "log.csv")))  # its repr has no name
        FileNotFoundError("[Errno 2] Not there: 'log.csv'")
    """
    try:
        if isinstance(error, OSError) and error.filename is not None:
            return f"{type(error).__name__}({str(error)!r})"
        return repr(error)
    except BaseException:
        return f"{type(error).__name__}, which cannot be shown"


def nearest(name: str, allowed: Iterable[str], *, likeness: float = 0.72) -> str | None:
    """The name among ``allowed`` that ``name`` was probably meant to be, or None.

    Args:
        name: what was written.
        allowed: what could have been meant.
        likeness: how alike they must be, from 0 to 1.

    Example:
        >>> nearest("after_backwards", ["after_backward", "after_batch"])
        'after_backward'
        >>> nearest("colour", ["after_backward"]) is None
        True
    """
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=likeness)
    return matches[0] if matches else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The last sentence of a message about an unknown name: the nearest right one, or all of them.

    Example:
        >>> did_you_mean("momentun", ["lr", "momentum"])
        'Did you mean momentum?'
        >>> did_you_mean("x", ["lr", "momentum"])
        'Use one of: lr, momentum.'
    """
    allowed = list(allowed)
    guess = nearest(name, allowed)
    return f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(allowed)}."


def positive_int(name: str, value: object, *, least: int = 1, example: int = 64) -> int:
    """``value`` as an int if it is a whole number of at least ``least``.

    Raises:
        TypeError: it is no integer.
        ValueError: it is too small.

    Example:
        >>> positive_int("batch_size", 64)
        64
    """
    todo = f"Give e.g. {name}={example}."
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int of at least {least}; got {value!r}. {todo}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}. {todo}")
    return int(value)


def words(name: str, value: Any) -> str:
    """``value`` if it is a text with something in it.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty.

    Example:
        >>> words("reason", "the loss is low enough")
        'the loss is low enough'
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text; got {value!r}. Write it in a few words.")
    if not value:
        raise ValueError(f"{name} must not be empty. Write it in a few words.")
    return value


def real_number(name: str, value: Any) -> float:
    """``value`` as a float if it is a finite real number.

    Raises:
        TypeError: it is no number; a tensor is none either, nor is a bool.
        ValueError: it is nan or infinite.

    Example:
        >>> real_number("lr", 1)
        1.0
    """
    if isinstance(value, float) and math.isfinite(value):  # the usual case, at a third of the cost
        return float(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        near = hasattr(value, "__float__") and not isinstance(value, bool)  # a tensor, say
        todo = f"Use float({name})." if near else "Give a number such as 0.1."
        raise TypeError(f"{name} must be a real number; got {value!r}. {todo}")
    try:
        number = float(value)
    except OverflowError:
        number, value = math.inf, "an int beyond any float"
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value}. Give a number such as 0.1.")
    return number


def above_zero(name: str, value: Any) -> float:
    """``value`` as a float if it is a finite number above 0.

    Raises:
        TypeError: it is no number.
        ValueError: it is not finite, or not above 0.

    Example:
        >>> above_zero("rho", 0.05)
        0.05
    """
    if (number := real_number(name, value)) <= 0:
        raise ValueError(f"{name} must be above 0; got {value}. Use e.g. {name}=0.5.")
    return number


def share(name: str, value: Any, *, example: float = 0.5) -> float:
    """``value`` as a float if it is from 0 to 1.

    Raises:
        TypeError: it is no number.
        ValueError: it lies outside.

    Example:
        >>> share("alpha", 0.5)
        0.5
    """
    if not 0 <= (number := real_number(name, value)) <= 1:
        raise ValueError(f"{name} must be from 0 to 1; got {value}. Use e.g. {name}={example}.")
    return number


def item_weight(value: Any) -> float:
    """``value`` as a plain number if it can be the weight of a batch; a tensor of one is read.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, nan, or so large or small that a loss times it would be infinite
            or vanish in single precision.

    Example:
        >>> item_weight(64), item_weight(0.5)
        (64, 0.5)
    """
    weight = value if value.__class__ is int or value.__class__ is float else _plain(value)
    if weight and not _LEAST <= weight <= _MOST:
        shown = "an int beyond that" if isinstance(weight, int) and weight > _MOST else weight
        raise ValueError(
            f"run.weight must be a number of items: 0, or from 1e-30 to 1e30; got {shown}. "
            "Correct the Learner's weight=, or the callback that sets run.weight."
        )
    return weight


def _plain(value: Any) -> float:
    number = value
    if not isinstance(value, Real):
        try:
            number = value.item()  # of a tensor or an array
        except (AttributeError, RuntimeError, ValueError):
            number = None
    if not isinstance(number, Real):
        shape = getattr(value, "shape", None)
        received = (
            repr(value) if shape is None else f"{type(value).__name__} of shape {tuple(shape)}"
        )
        raise TypeError(
            f"run.weight must be a number of items; got {received}. Let the Learner's weight= "
            "return one, e.g. float(mask.sum())."
        )
    return int(number) if isinstance(number, Integral) else float(number)

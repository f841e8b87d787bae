"""What the fields of an image preparation can be; a file that says otherwise is refused."""

from collections import Counter
from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any

from lehr.data.decode import MODES, RESIZES
from lehr.errors import did_you_mean, positive_int, real_number
from lehr.types import is_sequence

if TYPE_CHECKING:
    from lehr.data.image_preparation import ImagePreparation

LARGEST_SIDE = 8192


def class_names(value: Any) -> tuple[str, ...]:
    """``value`` as the names of classes.

    Raises:
        ValueError: they are no list of different, non-empty strings.

    Example:
        >>> class_names(["cat", "dog"])
        ('cat', 'dog')
    """
    names = list(value) if is_sequence(value) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"classes must be a list of names; got {value!r}. Give one string for each label."
        )
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise ValueError(f"classes must be different; got {twice} twice. Name each class once.")
    return tuple(names)


def image_size(name: str, value: Any) -> tuple[int, int]:
    """``value``, one side of a square or (height, width), as (height, width).

    Raises:
        TypeError: it is neither one nor two ints.
        ValueError: a side is below 1 or beyond all reason.

    Example:
        >>> image_size("size", 128), image_size("size", [32, 48])
        ((128, 128), (32, 48))
    """
    sides = list(value) if is_sequence(value) else [value] * 2
    if len(sides) != 2 or not all(isinstance(n, Integral) and n is not True for n in sides):
        raise TypeError(
            f"{name} must be an int or a pair (height, width); got {value!r}. "
            f"Give e.g. {name}=128 or {name}=(96, 128)."
        )
    height, width = (positive_int(name, side, example=128) for side in sides)
    if max(height, width) > LARGEST_SIDE:
        raise ValueError(
            f"{name} must be at most {LARGEST_SIDE} pixels a side; got {value!r}. "
            f"Give e.g. {name}=128."
        )
    return height, width


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """``value`` if it is one of the allowed strings.

    Raises:
        ValueError: it is not.

    Example:
        >>> one_of("resize", "crop", ("crop", "squish"))
        'crop'
    """
    allowed = list(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(allowed)}; got {value!r}. "
            f"{did_you_mean(str(value), allowed)}"
        )
    return value


def checked_fields(preparation: "ImagePreparation") -> dict[str, Any]:
    """Every field of the preparation, checked and in its own type."""
    mode = one_of("mode", preparation.mode, MODES)
    if not isinstance(preparation.flat, bool):
        raise TypeError(f"flat must be a bool; got {preparation.flat!r}. Give True or False.")

    def numbers(name: str, value: Any, default: float) -> tuple[float, ...]:
        given = list(value) if is_sequence(value) else [value]
        if value == ():
            given = [default] * MODES[mode]
        if len(given) != MODES[mode]:
            raise ValueError(
                f"{name} must have one number a channel, {MODES[mode]} for mode {mode}; got "
                f"{value!r}. Give e.g. {name}={(default,) * MODES[mode]}."
            )
        return tuple(real_number(name, number) for number in given)

    mean, std = numbers("mean", preparation.mean, 0.0), numbers("std", preparation.std, 1.0)
    if min(std) <= 0:
        raise ValueError(f"std must be above 0; got {list(std)}. Give 1.0 to divide by nothing.")
    return {
        "classes": class_names(preparation.classes),
        "mode": mode,
        "size": image_size("size", preparation.size),
        "resize": one_of("resize", preparation.resize, RESIZES),
        "mean": mean,
        "std": std,
    }

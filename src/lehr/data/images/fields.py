"""What a user may give for the fields of an image preparation, short forms included."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from lehr.data.images.decode import MODES
from lehr.errors import did_you_mean, positive_int, real_number
from lehr.types import is_sequence

LARGEST_SIDE = 8192
"""Pixels that an image is brought to at most, in height and width."""


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


def given_scale(normalize: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The mean and the deviation of each channel that ``normalize`` names; None if it is a bool.

    Raises:
        TypeError: it is neither a bool nor a pair of numbers, or of lists of them.
        ValueError: these are not for 1 or 3 channels, or a deviation is not above 0.

    Example:
        >>> given_scale(([0.5], [0.25])), given_scale(True)
        (((0.5,), (0.25,)), None)
    """
    if isinstance(normalize, bool):
        return None
    pair = list(normalize) if is_sequence(normalize) else []
    if len(pair) != 2:
        raise TypeError(
            f"normalize must be True, False, or a pair (mean, std); got {normalize!r}. Give e.g. "
            "normalize=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))."
        )
    mean, std = (
        tuple(real_number("normalize", v) for v in (part if is_sequence(part) else [part]))
        for part in pair
    )
    if len(mean) != len(std) or len(mean) not in MODES.values() or min(std) <= 0:
        raise ValueError(
            "normalize must have a mean and a deviation above 0 for each of 1 or 3 channels; got "
            f"{normalize!r}."
        )
    return mean, std


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


def written_out(preparation: Any) -> dict[str, Any]:
    """The fields that have short forms, as they are kept: size, mean and std.

    Raises:
        TypeError: one is of the wrong type.
        ValueError: one is out of range, or the mode is none.
    """
    channels = MODES[one_of("mode", preparation.mode, MODES)]

    def numbers(name: str, value: Any, default: float) -> tuple[float, ...]:
        given = list(value) if is_sequence(value) else [value]
        return tuple(real_number(name, number) for number in given or [default] * channels)

    return {
        "size": image_size("size", preparation.size),
        "mean": numbers("mean", preparation.mean, 0.0),
        "std": numbers("std", preparation.std, 1.0),
    }

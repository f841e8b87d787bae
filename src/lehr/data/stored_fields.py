"""Reads the fields of a stored preparation, trusting none of them."""

import math
from collections.abc import Collection, Mapping
from typing import Any, cast

_ADVICE = "Is this the file that lehr wrote? Work the preparation out again from the data."


def check_fields(what: str, stored: Any, names: Collection[str]) -> Mapping[str, Any]:
    """``stored`` if it is a dict with exactly these names.

    Args:
        what: what messages call it.
        stored: what came out of a file.
        names: of the fields.

    Raises:
        ValueError: it is no dict, lacks a field or has another.

    Example:
        >>> check_fields("a point", {"x": 1, "y": 2}, ["x", "y"])["y"]
        2
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"{what} must be a dict; got {stored!r}. {_ADVICE}")
    fields = cast("Mapping[str, Any]", stored)
    if set(fields) != set(names):
        raise ValueError(
            f"{what} must have the fields {', '.join(names)}; got {', '.join(map(str, fields))}. "
            f"{_ADVICE}"
        )
    return fields


def text_field(stored: Mapping[str, Any], name: str) -> str:
    """A field that is text.

    Raises:
        ValueError: it is something else.

    Example:
        >>> text_field({"target": "species"}, "target")
        'species'
    """
    value = stored[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text; got {value!r}. {_ADVICE}")
    return value


def texts_field(stored: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of texts, no two alike.

    Raises:
        ValueError: it is something else.

    Example:
        >>> texts_field({"classes": ["cat", "dog"]}, "classes")
        ('cat', 'dog')
    """
    values = list_field(stored, name)
    if not all(isinstance(value, str) for value in values) or len(set(values)) < len(values):
        raise ValueError(f"{name} must be a list of different texts; got {values!r}. {_ADVICE}")
    return tuple(values)


def list_field(stored: Mapping[str, Any], name: str) -> list[Any]:
    """A field that is a list.

    Raises:
        ValueError: it is something else.

    Example:
        >>> list_field({"shape": [1, 8, 8]}, "shape")
        [1, 8, 8]
    """
    value = stored[name]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list; got {value!r}. {_ADVICE}")
    return list(cast("list[Any]", value))


def number_field(stored: Mapping[str, Any], name: str, *, positive: bool = False) -> float:
    """A field that is a finite number.

    Raises:
        ValueError: it is something else, or must be positive and is not.

    Example:
        >>> number_field({"mean": 2}, "mean")
        2.0
    """
    return _number(name, stored[name], positive)


def numbers_field(
    stored: Mapping[str, Any], name: str, *, positive: bool = False
) -> tuple[float, ...]:
    """A field that is a list of finite numbers.

    Raises:
        ValueError: as for `number_field`.

    Example:
        >>> numbers_field({"std": [1, 0.5]}, "std", positive=True)
        (1.0, 0.5)
    """
    return tuple(_number(name, value, positive) for value in list_field(stored, name))


def _number(name: str, value: Any, positive: bool) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (positive and value <= 0):
        allowed = "a finite number above 0" if positive else "a finite number"
        raise ValueError(f"{name} must be {allowed}; got {value!r}. {_ADVICE}")
    return float(value)

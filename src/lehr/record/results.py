"""What a metric returned, as columns of numbers."""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, cast

from torch import Tensor

from lehr.base.names import snake_case
from lehr.types import RECORDED, is_mapping, is_sequence


def columns_of(name: str, result: Any, *, prefixed: bool = False) -> dict[str, Any]:
    """Each number of a result under the name of its column.

    A number has the metric's name, the numbers of a vector have ``name_0``, ``name_1`` … and those
    of a dict their keys.

    Args:
        name: of the metric.
        result: a number, a vector ``(n,)`` (tensor, array or list), or a dict of these.
        prefixed: put the metric's name before the keys of a dict as well.

    Returns:
        Numbers, and tensors of one element on their device.

    Raises:
        TypeError: there is something else in it, such as a matrix.
        ValueError: two keys make one name.

    Example:
        >>> columns_of("f1", [0.5, 1.0]), columns_of("all", {"Prec": 0.5})
        ({'f1_0': 0.5, 'f1_1': 1.0}, {'prec': 0.5})
    """
    if is_mapping(result):
        columns: dict[str, Any] = {}
        for key, value in result.items():
            own = snake_case(str(key))
            new = columns_of(f"{name}_{own}" if prefixed else own, value, prefixed=True)
            if twice := columns.keys() & new.keys():
                raise ValueError(
                    f"metric {name!r} returned two values for the column {min(twice)!r}. Give the "
                    "keys of its dict other names."
                )
            columns |= new
        return columns
    if isinstance(result, Tensor):
        if result.numel() == 1:
            return {name: result}
        if result.ndim == 1:
            return {f"{name}_{i}": number for i, number in enumerate(result)}
        raise _too_many(name, f"a tensor of shape {tuple(result.shape)}")
    if isinstance(result, Real):
        return {name: result}
    if hasattr(result, "tolist"):  # of NumPy
        return columns_of(name, result.tolist())
    if is_sequence(result):
        if any(is_sequence(inner) for inner in cast("Sequence[Any]", result)):
            raise _too_many(name, "a list of lists")
        each = [columns_of(f"{name}_{i}", value) for i, value in enumerate(result)]
        return {column: number for columns in each for column, number in columns.items()}
    hint = " Does it end with return?" if result is None else ""
    shown = repr(result) if isinstance(result, str) else f"a {type(result).__name__}"
    raise TypeError(
        f"metric {name!r} returned {'None' if result is None else shown}; a metric returns a "
        f"number, a vector, or a dict of numbers.{hint}"
    )


def _too_many(name: str, shown: str) -> TypeError:
    return TypeError(
        f"metric {name!r} returned {shown}; a metric returns a number, a vector (a column for "
        "each of its numbers) or a dict of these. Reduce it, or compute it from learn.predict(…)."
    )


class ColumnError(ValueError):
    """Two things would be recorded under one name."""


def check_columns(names: Sequence[str], parts: Iterable[str] = ()) -> None:
    """See that metrics have names of their own.

    Args:
        names: of their columns.
        parts: names of the parts of the loss, if it has some.

    Raises:
        ColumnError: two have one name, or one that the recorder uses.

    Example:
        >>> check_columns(["accuracy", "f1"], parts=["kl"])
    """
    if len(set(names)) < len(names):
        raise ColumnError(
            f"metrics must have different names; got {list(names)}. Name them in a dict: "
            'metrics={"first": …, "second": …}.'
        )
    for name in names:
        if name in RECORDED:
            raise ColumnError(
                f"a metric cannot be named {name!r}: the recorder has that column. Name it in a "
                'dict: metrics={"another": …}.'
            )
    for part in parts:
        if twice := {part, f"train_{part}", f"valid_{part}"}.intersection(names):
            raise ColumnError(
                f"a metric cannot be named {min(twice)!r}: the part {part!r} of the loss is "
                f"recorded as {part}, train_{part} and valid_{part}. Name the metric in a dict: "
                'metrics={"another": …}, or name the part otherwise.'
            )

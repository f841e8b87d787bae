"""A loss that is made of named parts: their sum is trained, each of them is recorded."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import Tensor

from lehr.base.nested import describe
from lehr.types import RECORDED, is_mapping, is_sequence

_SUMS = ("loss", "total", "total_loss", "sum")

Parts = Mapping[str, Any]
"""The named parts of a loss, each one number."""


def summed(loss: Any) -> tuple[Any, Parts | None]:
    """The loss as one number, and its parts by name if a dict or a named tuple of them came.

    Raises:
        TypeError: nothing came, or a plain tuple or list; or a part has no name that it could be
            recorded under, or is no number.
        ValueError: a part is a tensor of several numbers, or there is none.

    Example:
        >>> summed({"fit": 2.0, "penalty": 0.5})
        (2.5, {'fit': 2.0, 'penalty': 0.5})
    """
    if loss is None:
        raise TypeError(
            "loss_func must return the loss, a tensor of one number; it returned None. Is there a "
            "return at its end?"
        )
    if hasattr(loss, "_asdict"):
        loss = loss._asdict()
    if is_sequence(loss):
        raise TypeError(
            f"loss_func returned {describe(loss)}, a {type(loss).__name__} of {len(loss)}; it must "
            'return one number, or a dict of parts by name: {"fit": a, "penalty": b}.'
        )
    if not is_mapping(loss):
        return loss, None
    parts: Parts = loss
    if not parts:
        raise ValueError("loss_func returned a dict without parts. Return at least one number.")
    for name, part in parts.items():
        _check_part(name, part)
    first, *others = parts.values()
    for part in others:
        first = first + part
    return first, parts


def _check_part(name: Any, part: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"loss_func returned a part named {name!r}; a name must be a text. "
            'Return e.g. {"fit": a, "penalty": b}.'
        )
    if name in _SUMS:
        raise TypeError(
            f"loss_func returned a part named {name!r}, as if it were the sum of the others: the "
            "parts are summed here, and the sum is recorded as the loss. Leave it out; or return "
            "it alone, and record the others with run.log."
        )
    if name in RECORDED:
        raise TypeError(
            f"loss_func returned a part named {name!r}: the recorder has that column. Choose "
            "another name."
        )
    if isinstance(part, Tensor):
        if part.numel() != 1:
            raise ValueError(
                f"the part {name!r} of the loss must be one number; got a tensor of shape "
                f"{tuple(part.shape)}. Reduce it, e.g. with .mean()."
            )
    elif not isinstance(part, Real):
        raise TypeError(
            f"the part {name!r} of the loss must be one number; got {describe(part)}. Leave it "
            "out, or return a tensor."
        )

"""Doubles of callbacks, for a pass within a run that they take part in."""

from contextlib import nullcontext
from copy import copy
from typing import Any

from lehr.callback import Callback


def double(callback: Callback, *, begins: bool) -> Callback:
    """A copy that takes part in a pass of its own.

    Args:
        callback: whose run is under way.
        begins: whether it hears begin and end of that pass as those of a fit: one that has not
            begun yet must, and one that has begun must not.

    Example:
        >>> from lehr.callbacks import Device
        >>> double(Device("cpu"), begins=False)
        Device('cpu')
    """
    twin: Any = copy(callback)
    if hasattr(callback, "around_fit"):
        twin.around_fit = nullcontext
    for name in () if begins else ("begin_fit", "after_fit"):
        if hasattr(callback, name):
            setattr(twin, name, _nothing)
    return twin


def _nothing(run: Any) -> None: ...

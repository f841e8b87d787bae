"""Doubles of callbacks, for a pass within a run that they take part in."""

from contextlib import nullcontext
from copy import copy
from typing import Any

from lehr.callback import Callback
from lehr.events import Phase


def double(callback: Callback) -> Callback:
    """A copy that takes part, and does not begin once more if it has begun.

    Those that prepare have begun when the others begin.

    Example:
        >>> from lehr.callbacks import Device
        >>> double(Device("cpu"))
        Device('cpu')
    """
    twin: Any = copy(callback)
    if hasattr(callback, "around_fit"):
        twin.around_fit = nullcontext
    if callback.phase < Phase.MEASURE:
        for name in ("begin_fit", "after_fit"):
            if hasattr(callback, name):
                setattr(twin, name, _nothing)
    return twin


def _nothing(run: Any) -> None: ...

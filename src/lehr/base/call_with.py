"""To call something while attributes have other values."""

from collections.abc import Callable
from typing import Any


def call_with(thing: object, act: Callable[[], Any], /, **values: Any) -> None:
    """Call ``act()`` while ``thing`` has these values in its attributes; they are put back.

    Args:
        thing: has all of them.
        act: is called once; its error passes.
        **values: by the name of the attribute.

    Example:
        >>> from types import SimpleNamespace
        >>> run = SimpleNamespace(yb=1)
        >>> call_with(run, lambda: print(run.yb), yb=2)
        2
        >>> run.yb
        1
    """
    before = {name: getattr(thing, name) for name in values}
    try:
        for name, value in values.items():
            setattr(thing, name, value)
        act()
    finally:
        for name, value in before.items():
            setattr(thing, name, value)

"""What of a loader can be read only once, so that nobody may look into it before its time."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

from torch.utils.data import DataLoader

from lehr.state.generators import generators_of
from lehr.types import is_seekable, is_sequence


def read_once(loader: Any) -> str | None:
    """What a loader holds that another reading would use up; None if there is nothing.

    That is an iterator among the attributes of the loader or of its dataset, or among the variables
    of a function that makes one; for a function also a random generator, for nobody could put it
    back. Nothing is read or called to find out.

    Args:
        loader: as `lehr.data.loading.feed.Feed` takes it.

    Returns:
        Its name.

    Example:
        >>> stream = iter([1, 2, 3])
        >>> read_once(lambda: [next(stream)]), read_once(lambda: [1])
        ('stream', None)
    """
    if is_seekable(loader) or is_sequence(loader):
        return None
    if isinstance(loader, partial):
        return _used_up(dict(enumerate([*loader.args, *loader.keywords.values()])), generators=True)
    if inspect.isfunction(loader) or inspect.ismethod(loader):
        return _used_up(_variables(loader), generators=True)
    if not hasattr(cast(Any, type(loader)), "__iter__"):
        return _used_up(_attributes(loader), generators=True)
    dataset = getattr(loader, "dataset", None)
    own: Mapping[Any, Any] = {} if isinstance(loader, DataLoader) else _attributes(loader)
    return _used_up(own) or _used_up(_attributes(dataset))


def apart(loader: Any) -> Any:
    """A loader whose reading leaves the attributes of this one as they are.

    A shallow copy; or the loader itself, where it has nothing to lose or cannot be copied: what is
    done when an object is deleted would be done when the copy is.

    Example:
        >>> apart([1, 2]) == [1, 2]
        True
    """
    kind = cast(Any, type(loader))
    if is_seekable(loader) or is_sequence(loader) or not hasattr(kind, "__iter__"):
        return loader
    if hasattr(kind, "__del__"):
        return loader
    try:
        return copy.copy(loader)
    except Exception:
        return loader


def _attributes(thing: Any) -> Mapping[str, Any]:
    return getattr(thing, "__dict__", {})


def _variables(function: Any) -> Mapping[str, Any]:
    bound = _attributes(getattr(function, "__self__", None))
    known = inspect.getclosurevars(function)
    return {**known.globals, **known.nonlocals, **bound}


def _used_up(held: Mapping[Any, Any], *, generators: bool = False) -> str | None:
    for name, value in held.items():
        if isinstance(value, Iterator) or (generators and _draws(value)):
            return str(name)
    return None


def _draws(value: Any) -> bool:
    if inspect.ismodule(value) or isinstance(value, type):
        return False
    return any(True for thing in (_Holder(value), value) for _ in generators_of(thing))


class _Holder:
    """Holds a value, which may be a generator, in an attribute."""

    def __init__(self, value: Any) -> None:
        self.value = value

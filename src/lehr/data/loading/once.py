"""What of a loader can be read only once, so that nobody may look into it before its time."""

import copy
import dis
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from types import CodeType
from typing import Any, cast

from torch.utils.data import DataLoader

from lehr.base.reach import attributes_of, held_by, may_hold
from lehr.state.generators import generators_of
from lehr.types import is_seekable, is_sequence

_MANY = 100  # of the objects that a loader holds are looked into
_TAKING = {"pop", "popleft", "popitem"}  # methods that give an item away
_NO_CODE = compile("", "", "exec")


def read_once(loader: Any) -> str | None:
    """What a loader holds that another reading would use up; None if there is nothing.

    That is an iterator, a queue, a reader with a method ``next``, or a container whose ``pop`` or
    ``popleft`` is called: among the attributes of the loader or of its dataset, among the variables
    of a function that makes one, or among the attributes of the objects found there, however far
    down. For a function it is also a random generator, for nobody could put it back. Nothing is
    read or called to find out.

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
    called = not hasattr(cast(Any, type(loader)), "__iter__")
    return _used_up(loader, generators=called, seen=set())


def apart(loader: Any) -> Any:
    """A loader whose reading leaves the attributes of this one as they are.

    A shallow copy, with copies of the loaders that it holds in its attributes; or the loader
    itself, where it has nothing to lose or cannot be copied: what is done when an object is deleted
    would be done when the copy is.

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
        double = copy.copy(loader)
    except Exception:
        return loader
    if not isinstance(loader, DataLoader):
        for name, value in dict(attributes_of(double)).items():
            if may_hold(value) and (inner := apart(value)) is not value:
                vars(double)[name] = inner
    return double


def _held(thing: Any) -> Mapping[Any, Any]:
    """What a loader, a function or an object keeps, by name, as far as it can matter."""
    dataset = attributes_of(getattr(thing, "dataset", None))
    return dataset if isinstance(thing, DataLoader) else {**dataset, **held_by(thing)}


def _used_up(thing: Any, *, generators: bool, seen: set[int]) -> str | None:
    """The name of the first thing that reading uses up: the nearest to the loader."""
    held, emptied = _held(thing), _emptied(thing)
    for name, value in held.items():
        if _is_consumed(value) or name in emptied or (generators and _draws(value)):
            return str(name)
    for name, value in held.items():
        if may_hold(value) and id(value) not in seen and len(seen) < _MANY:
            seen.add(id(value))
            if inner := _used_up(value, generators=False, seen=seen):
                return f"{name}.{inner}"
    return None


def _emptied(thing: Any) -> set[Any]:
    """The names of what the code of a function, or that of reading an object, takes items from."""
    if isinstance(thing, DataLoader):
        return _emptied(thing.dataset)
    if isinstance(thing, partial):
        given = [*_code_of(thing.func).co_varnames[: len(thing.args)], *thing.keywords]
        emptied = _emptied(thing.func)
        return {place for place, name in enumerate(given) if name in emptied}
    return set(_taken_from(_code_of(thing)))


def _code_of(thing: Any) -> CodeType:
    if not (inspect.isfunction(thing) or inspect.ismethod(thing)):
        thing = getattr(cast(Any, type(thing)), "__iter__", None)
    code = getattr(thing, "__code__", None)
    return code if isinstance(code, CodeType) else _NO_CODE


def _taken_from(code: CodeType) -> Iterator[str]:
    for holder, call in pairwise(dis.get_instructions(code)):
        if call.opname in ("LOAD_METHOD", "LOAD_ATTR") and call.argval in _TAKING:
            yield str(holder.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _taken_from(inner)


def _is_consumed(value: Any) -> bool:
    """Whether what is read of it is gone from it: of an iterator, a queue, a reader."""
    if isinstance(value, Iterator):
        return True
    if inspect.ismodule(value) or isinstance(value, type):
        return False
    return _has_all(value, ("get", "put", "empty")) or _has_all(value, ("next",))


def _has_all(thing: Any, methods: Iterable[str]) -> bool:
    kind = cast(Any, type(thing))
    return all(callable(getattr(kind, name, None)) for name in methods)


def _draws(value: Any) -> bool:
    if inspect.ismodule(value) or isinstance(value, type):
        return False
    return any(True for thing in (_Holder(value), value) for _ in generators_of(thing))


class _Holder:
    """Holds a value, which may be a generator, in an attribute."""

    def __init__(self, value: Any) -> None:
        self.value = value

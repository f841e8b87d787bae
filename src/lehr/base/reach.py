"""What a function or an object can reach by itself: what it holds, and what that holds."""

import inspect
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, cast

from torch import Tensor, nn

from lehr.base.signatures import variables_of
from lehr.types import is_mapping, is_seekable, is_sequence

_MANY = 100  # of the objects that are reached, or of the entries of one, are looked into


def attributes_of(thing: Any) -> Mapping[str, Any]:
    """The attributes that an object has itself; none of what has no place for them.

    Example:
        >>> attributes_of(partial(max)), attributes_of(3)
        ({}, {})
    """
    return getattr(thing, "__dict__", {})


def held_by(thing: Any) -> Mapping[Any, Any]:
    """What a function, a container or an object holds, by name; nothing is called to find out.

    Example:
        >>> held_by([3, 4]), held_by(partial(max, 2))
        ({0: 3, 1: 4}, {'func': <built-in function max>, 0: 2})
    """
    if isinstance(thing, partial):
        return {"func": thing.func, **variables_of(thing)}
    if inspect.isfunction(thing) or inspect.ismethod(thing):
        return variables_of(thing)
    if is_mapping(thing):
        return dict(islice(thing.items(), _MANY))
    if is_sequence(thing):
        return dict(enumerate(thing[:_MANY]))
    return attributes_of(thing)


def may_hold(value: Any) -> bool:
    """Whether to look into it: a container, a function, or an object; no class, module or tensor.

    Example:
        >>> may_hold([1]), may_hold(nn.Linear(1, 1))
        (True, False)
    """
    if isinstance(value, (type, nn.Module, Tensor)) or inspect.ismodule(value):
        return False
    if is_seekable(value):
        return False
    if is_mapping(value) or is_sequence(value) or isinstance(value, partial):
        return True
    return inspect.isfunction(value) or inspect.ismethod(value) or bool(attributes_of(value))


def reached(start: Any) -> Iterator[tuple[str, Any]]:
    """All that can be reached from a function or an object, the nearest first, each thing once.

    The globals of PyTorch's functions and the objects of this library are not looked into. A method
    of a module stands for the module.

    Returns:
        The path of each, as one would write it; that of ``start`` is empty.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> list(reached(lambda x: layer(x)))[1:]
        [('layer', Linear(in_features=1, out_features=1, bias=True))]
    """
    waiting, seen = deque([("", start)]), dict[int, Any]()
    while waiting and len(seen) < _MANY:
        path, thing = waiting.popleft()
        owner = getattr(thing, "__self__", None)
        thing = owner if isinstance(owner, nn.Module) else thing
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing  # kept: else another could get its id
        yield path, thing
        if may_hold(thing) and not _is_known(thing):
            waiting.extend(
                (f"{path}.{name}".lstrip("."), value)
                for name, value in held_by(thing).items()
                if may_hold(value) or isinstance(value, (nn.Module, nn.Parameter))
            )


def _is_known(thing: Any) -> bool:
    function = inspect.isfunction(thing)
    home = getattr(thing if function else cast(Any, type(thing)), "__module__", None)
    return str(home).partition(".")[0] == ("torch" if function else "lehr")

"""What batches and outputs are made of: containers, and what is in them."""

import copy
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lehr.base.arrays import is_numpy
from lehr.base.counting import count
from lehr.types import holds_only_plain, is_mapping, is_sequence

_LEAVES = frozenset((str, int, float, bool, NoneType))
"""Types of most of what JSON holds"""


def split_pair(batch: Any) -> tuple[Any, Any]:
    """The default ``split_batch``: a pair is (xb, yb), one tensor is xb alone.

    Args:
        batch: what the loader gave.

    Returns:
        ``(xb, yb)``; ``yb`` is None where there are no targets. A ``xb`` that is a tuple reaches
        the model as positional arguments, a dict as keyword arguments.

    Raises:
        TypeError: it is neither a pair nor a tensor.

    Example:
        >>> split_pair(("x", "y"))
        ('x', 'y')
    """
    if batch.__class__ is tuple and len(batch) == 2:
        return batch
    if is_sequence(batch) and 1 <= len(batch) <= 2:
        return batch[0], batch[1] if len(batch) == 2 else None
    if isinstance(batch, Tensor):
        return batch, None
    if batch is None:
        raise TypeError(
            "a batch must be a pair (xb, yb) or one tensor; got None. Does a collate_fn return "
            "nothing? Let the loader leave such batches out."
        )
    if is_numpy(batch):
        raise TypeError(
            f"a batch must be a pair (xb, yb) or one tensor; got {type(batch).__name__}. Convert "
            "it in the loader: torch.as_tensor(batch)."
        )
    size = f" of {len(batch)}" if is_sequence(batch) or is_mapping(batch) else ""
    example = "lambda b: (b['ids'], b['labels'])"
    if is_sequence(batch) and len(batch) > 2:
        inputs = ", ".join(f"b[{place}]" for place in range(len(batch) - 1))
        example = f"lambda b: (b[0], b[1]), or lambda b: (({inputs}), b[{len(batch) - 1}])"
    raise TypeError(
        f"a batch must be a pair (xb, yb) or one tensor; got {type(batch).__name__}{size}. Give "
        f"the Learner split_batch=, a function from a batch to (xb, yb), e.g. {example}."
    )


def item_count(value: Any) -> int:
    """The number of items in a batch, as `lehr.base.counting.count` finds it.

    Raises:
        TypeError: nothing in it has a length.

    Example:
        >>> import torch
        >>> item_count({"ids": torch.zeros(64, 12), "mask": None})
        64
    """
    if isinstance(value, Tensor) and value.ndim:
        return value.size(0)
    if (items := count(value)) is not None:
        return items
    raise TypeError(
        f"cannot tell how many items a batch of {type(value).__name__} holds. Give the Learner "
        "weight=, a function from the run to a number, e.g. lambda run: len(run.batch)."
    )


def count_items(run: Any) -> int:
    """The number of items in ``run.xb``: a Learner's default weight."""
    xb = run.xb
    return xb.size(0) if isinstance(xb, Tensor) and xb.ndim else item_count(xb)


def inside(value: Any) -> Iterable[Any] | None:
    """What a container holds, in its order; None if ``value`` is none.

    Containers are mappings, lists, tuples, dataclasses, and packed sequences (of these the data and
    the indices; the batch sizes belong to the form). Everything else is taken as one thing: a
    tensor, a number, a text, a cache, a distribution.

    Example:
        >>> list(inside({"a": 1, "b": [2]})), inside("text")
        ([1, [2]], None)
    """
    if (
        value.__class__ is list or value.__class__ is tuple
    ):  # what most batches are made of comes first
        return value
    if value.__class__ is dict:
        return value.values()
    if isinstance(value, Tensor):
        return None
    if is_mapping(value):
        return value.values()
    if isinstance(value, PackedSequence):
        return value.data, value.sorted_indices, value.unsorted_indices
    if is_sequence(value):
        return value
    if is_record(value):
        return [getattr(value, name) for name in _field_names(value)]
    return None


def names_inside(value: Any) -> Iterable[str] | None:
    """The names of what `inside` lists: keys or fields; None if it has none.

    Example:
        >>> list(names_inside({"a": 1})), names_inside([1])
        (['a'], None)
    """
    if is_mapping(value):
        return map(str, value.keys())
    return _field_names(value) if is_record(value) else None


def rebuilt(pattern: Any, items: list[Any]) -> Any:
    """A container like ``pattern`` that holds ``items`` instead; ``pattern`` stays as it is.

    Dicts of any class, named tuples and dataclasses keep their class, and whatever else they know.
    Other mappings become a dict, other lists a list, other tuples a tuple: their classes may have
    rules about what they hold.

    Example:
        >>> rebuilt({"a": 1, "b": 2}, [3, 4])
        {'a': 3, 'b': 4}
    """
    if pattern.__class__ is tuple:
        return tuple(items)
    if pattern.__class__ is dict:
        return dict(zip(pattern, items, strict=True))
    if is_mapping(pattern):
        return _mapping_like(pattern, items)
    if isinstance(pattern, PackedSequence):
        data, in_order, back = items
        return pattern._replace(data=data, sorted_indices=in_order, unsorted_indices=back)
    if is_named_tuple(pattern):
        return type(pattern)(*items) if hasattr(pattern, "_fields") else type(pattern)(items)
    if is_sequence(pattern):
        return items if isinstance(pattern, list) else tuple(items)
    new = copy.copy(pattern)
    for name, item in zip(_field_names(pattern), items, strict=True):
        object.__setattr__(new, name, item)  # of a frozen one, too
    return new


def _mapping_like(pattern: Mapping[Any, Any], items: list[Any]) -> Mapping[Any, Any]:
    pairs = dict(zip(pattern.keys(), items, strict=True))
    if not isinstance(pattern, (dict, UserDict)):
        return pairs
    new: MutableMapping[Any, Any] = copy.copy(pattern)  # its constructor may take anything
    for key, item in pairs.items():
        new[key] = item
    return new


def is_named_tuple(value: Any) -> bool:
    """Whether ``value`` is a tuple with named fields, as `torch.max` returns one.

    Example:
        >>> is_named_tuple(torch.zeros(2, 3).max(1)), is_named_tuple((1, 2))
        (True, False)
    """
    named = hasattr(value, "_fields") or hasattr(value, "n_sequence_fields")
    return named and isinstance(value, tuple)


def is_record(value: Any) -> bool:
    """Whether ``value`` is an object of a dataclass.

    Example:
        >>> is_record(1)
        False
    """
    return is_dataclass(value) and not isinstance(value, type)


def _field_names(value: Any) -> list[str]:
    return [field.name for field in fields(value) if hasattr(value, field.name)]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a nesting of containers, in its order.

    Example:
        >>> [t.item() for t in tensors_in({"a": torch.tensor(1), "b": ["text", torch.tensor(2)]})]
        [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    else:
        if value.__class__ in (list, tuple) and holds_only_plain(value):
            return
        for inner in inside(value) or ():
            yield from tensors_in(inner)


def placed(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What can be reached by keys and numbers, containers first, each with its place.

    Args:
        value: any nesting of mappings, lists and tuples; other containers are one thing here.
        path: of ``value`` itself.

    Example:
        >>> dict(placed({"a": [3, "text"]}, "batch"))
        {'batch': {'a': [3, 'text']}, "batch['a']": [3, 'text'], "batch['a'][0]": 3,
         "batch['a'][1]": 'text'}
    """
    yield path, value
    if is_mapping(value) or is_sequence(value):
        for key, inner in value.items() if is_mapping(value) else enumerate(value):
            yield from placed(inner, f"{path}[{key!r}]")


def floats_in(value: Any) -> Iterator[Tensor]:
    """Those of `tensors_in` that hold real or complex numbers and are neither sparse nor nested.

    Example:
        >>> len(list(floats_in([torch.zeros(2), torch.zeros(2).to_sparse(), torch.tensor(1)])))
        1
    """
    for tensor in tensors_in(value):
        numbers = tensor.is_floating_point() or tensor.is_complex()
        if numbers and tensor.layout == torch.strided and not tensor.is_nested:
            yield tensor


def map_tensors(
    function: Callable[[Any], Any], value: Any, *, also: Callable[[Any], bool] | None = None
) -> Any:
    """``value`` with ``function`` applied to every tensor in it; nesting and other things stay.

    Args:
        function: of a tensor.
        value: any nesting of mappings, lists and tuples.
        also: of a thing: whether ``function`` takes it as it takes a tensor.

    Example:
        >>> map_tensors(lambda t: t.item(), {"a": torch.tensor(1), "b": ["text", torch.tensor(2)]})
        {'a': 1, 'b': ['text', 2]}
    """
    if isinstance(value, Tensor) or (also is not None and also(value)):
        return function(value)
    held = inside(value)
    if held is None:
        return value
    return rebuilt(value, [map_tensors(function, inner, also=also) for inner in held])


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """``value`` with ``function`` applied to everything in it that is no container.

    Example:
        >>> map_leaves(str, {"a": 1, "b": [2, None]})
        {'a': '1', 'b': ['2', 'None']}
    """
    held = inside(value)
    if held is None:
        return function(value)
    return rebuilt(value, [map_leaves(function, inner) for inner in held])


def map_beside(function: Callable[[Any, Any], Any], value: Any, other: Any) -> Any:
    """``value`` with ``function`` applied to everything in it that is no container.

    Args:
        function: of a thing, and of what stands in the same place of ``other``; None, if there is
            no such place.
        value: any nesting of containers.
        other: one of the same kind, mostly.

    Example:
        >>> map_beside(max, {"a": 1, "b": [2, 5]}, {"b": [3, 4], "a": 0})
        {'a': 1, 'b': [3, 5]}
    """
    held = inside(value)
    if held is None:
        return function(value, other)
    beside = _in_same_places(value, other)
    pairs = zip(held, beside, strict=True)
    return rebuilt(value, [map_beside(function, inner, there) for inner, there in pairs])


def _in_same_places(value: Any, other: Any) -> list[Any]:
    if is_mapping(value):
        keys = value.keys()
        return [other.get(key) if is_mapping(other) else None for key in keys]
    places = list(inside(value) or ())
    alike = type(value) is type(other) or (is_sequence(value) and is_sequence(other))
    there = list(inside(other) or ()) if alike else []
    return there if len(there) == len(places) else [None] * len(places)


def without_entries(value: Any, unwanted: Callable[[Any, Any], bool]) -> Any:
    """``value`` without some entries of the mappings in it, which become dicts.

    Args:
        value: any nesting of mappings, lists and tuples.
        unwanted: of a key and what stands there.

    Example:
        >>> without_entries({"a": 1, "b": [{"c": None}]}, lambda key, inner: inner is None)
        {'a': 1, 'b': [{}]}
    """
    if is_mapping(value):
        kept = {key: inner for key, inner in value.items() if not unwanted(key, inner)}
        return {key: without_entries(inner, unwanted) for key, inner in kept.items()}
    if is_sequence(value):
        if holds_only_plain(value):
            return rebuilt(value, list(value))
        return rebuilt(value, [without_entries(inner, unwanted) for inner in value])
    return value


def as_json(function: Callable[[Any], Any], value: Any) -> Any:
    """``value`` in dicts by text and in lists, with ``function`` applied to all that is in them.

    Example:
        >>> as_json(str, {1: (2, [None])})
        {'1': ['2', ['None']]}
    """
    if value.__class__ in _LEAVES:  # what there is most of comes first
        return function(value)
    if is_mapping(value):
        return {str(key): as_json(function, inner) for key, inner in value.items()}
    if is_sequence(value):
        return [as_json(function, inner) for inner in value]
    return function(value)


def describe(value: Any) -> str:
    """Shapes, dtypes and devices of whatever a batch is made of.

    Example:
        >>> import torch
        >>> describe({"ids": torch.zeros(2, 3), "n": 4})
        '{ids: (2, 3) float32 cpu, n: int}'
    """
    if isinstance(value, Tensor):
        return f"{shape_text(value)} {str(value.dtype).removeprefix('torch.')} {value.device}"
    if isinstance(value, PackedSequence):
        return f"PackedSequence of {describe(value.data)}"
    if is_sequence(value):
        shown = [describe(v) for v in value[:4]]
        return f"[{', '.join(shown)}{', …' if len(value) > 4 else ''}]"
    if (names := names_inside(value)) is not None:
        pairs = zip(names, inside(value) or (), strict=True)
        return f"{{{', '.join(f'{name}: {describe(inner)}' for name, inner in pairs)}}}"
    return "None" if value is None else type(value).__name__


def shape_text(tensor: Tensor) -> str:
    """The shape of a tensor; of a nested one that has none, the number of its items.

    Example:
        >>> shape_text(torch.zeros(2, 3))
        '(2, 3)'
    """
    has_none = tensor.is_nested and tensor.layout == torch.strided
    return f"({tensor.size(0)}, …)" if has_none else str(tuple(tensor.shape))

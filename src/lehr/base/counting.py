"""How many items a batch holds, whatever it is made of."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lehr.types import is_mapping, is_sequence

_SAID = ("num_graphs", "batch_size", "num_nodes")
"""Attributes in which a batch of graphs, a TensorDict, or one big graph says its number of items"""


def count(value: Any) -> int | None:
    """The number of items in a batch; None if nothing in it tells.

    That is the length of the first tensor. A packed sequence, a batch of graphs and a TensorDict
    say it themselves. A list of texts, numbers, or tensors and dicts that do not agree in their
    shapes, has an entry for each item.

    Args:
        value: the input of the model; a tuple or a list is its arguments.

    Example:
        >>> import torch
        >>> count({"ids": torch.zeros(64, 12)}), count(([torch.zeros(3, 8), torch.zeros(3, 9)], 1))
        (64, 2)
    """
    if is_sequence(value) and not isinstance(value, PackedSequence):
        ragged = [len(inner) for inner in (value, *value) if _is_ragged(inner, inner is value)]
        if ragged:
            return ragged[0]
    return _count(value)


def _count(value: Any) -> int | None:
    if isinstance(value, Tensor):
        return value.size(0) if value.ndim else None
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if is_sequence(value):
        if value and _is_plain(value[:1]):
            return len(value)
        return _first(value)
    if (said := _said(value)) is not None:
        return said
    if is_mapping(value):
        return next((n for n in map(_count_named, value.values()) if n is not None), None)
    if is_dataclass(value):
        return _first(getattr(value, field.name) for field in fields(value))
    return len(value) if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) else None


def _first(values: Iterable[Any]) -> int | None:
    return next((n for n in map(_count, values) if n is not None), None)


def _count_named(value: Any) -> int | None:
    rows = is_sequence(value) and value and all(is_sequence(row) for row in value)
    return len(value) if rows and all(_is_plain(row[:1]) for row in value) else _count(value)


def _is_plain(row: Any) -> bool:
    return all(isinstance(one, (str, bytes, int, float)) for one in row)


def _said(value: Any) -> int | None:
    for name in _SAID:
        said = getattr(value, name, None)
        if is_sequence(said) and said:  # a torch.Size
            said = said[0]
        if isinstance(said, int) and not isinstance(said, bool):
            return said
    return None


def _is_ragged(value: Any, whole: bool) -> bool:
    """Whether it is a list with an entry for each item, by shapes that do not agree.

    Args:
        value: an argument of the model, or all of them.
        whole: whether it is all: tensors are arguments of their own then, of any shapes.
    """
    if not is_sequence(value) or len(value) < 2:
        return False
    if all(is_mapping(inner) for inner in value):
        return len({_count(inner) for inner in value}) > 1
    tensors = [inner for inner in value if isinstance(inner, Tensor)]
    return not whole and len(tensors) == len(value) and len({t.shape for t in tensors}) > 1

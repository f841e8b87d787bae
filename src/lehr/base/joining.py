"""What the batches of a pass gave, joined to one value for all items."""

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from lehr.base.nested import (
    describe,
    inside,
    is_named_tuple,
    names_inside,
    rebuilt,
    tensors_in,
)
from lehr.types import is_mapping, is_sequence


def join(batches: Sequence[Any], sizes: Sequence[Collection[int]] = (), name: str = "pred") -> Any:
    """Values of one nesting, one for each batch, put end to end.

    - Tensors are concatenated along their first dimension. If the others differ, as with padding,
      the result is a list of the items. Tensors without dimensions are stacked: ``(batches,)``.
    - Nested tensors and packed sequences become one that holds all items.
    - A list with an entry for each item becomes a list with an entry for each item of all batches;
      so does a tuple. Any other list or tuple is taken for several outputs, each joined by itself.
      Where a list may be either, it has an entry for each item if these are dicts or dataclasses;
      else it is taken for several outputs, and a warning says so.
    - Dicts, named tuples and dataclasses keep their class, and what is in them is joined.
    - None stays None. Of anything else there is a list, with one for each batch.

    Args:
        batches: the values; at least one.
        sizes: for each batch, the numbers of items that it may have; see `sizes_of`.
        name: of the values, for messages.

    Raises:
        ValueError: a batch has another structure than the first one.
        TypeError: a tensor has a sparse layout that torch cannot concatenate.

    Example:
        >>> join([{"a": torch.zeros(2, 3)}, {"a": torch.zeros(1, 3)}])["a"].shape
        torch.Size([3, 3])
        >>> join([[{"box": 1}, {"box": 2}], [{"box": 3}]], [{2}, {1}])
        [{'box': 1}, {'box': 2}, {'box': 3}]
    """
    first = batches[0]
    if is_sequence(first) and _are_entries_of_items(batches, sizes, name):
        return rebuilt(first, [entry for batch in batches for entry in batch])
    _check_alike(batches, name)
    if isinstance(first, Tensor):
        return _joined_tensors(batches, name)
    if isinstance(first, PackedSequence):
        return pack_sequence(_items(unpack_sequence, batches), enforce_sorted=False)
    if is_mapping(first):
        keys = list(first.keys())
        columns = [(f"{name}[{key!r}]", [batch[key] for batch in batches]) for key in keys]
    elif (held := inside(first)) is not None:
        rows = zip(*(inside(batch) or () for batch in batches), strict=True)
        own = names_inside(first)
        paths = [f"{name}[{i}]" for i, _ in enumerate(held)]
        paths = paths if own is None else [f"{name}.{field}" for field in own]
        columns = list(zip(paths, map(list, rows), strict=True))
    else:
        return None if all(batch is None for batch in batches) else list(batches)
    return rebuilt(first, [join(column, sizes, path) for path, column in columns])


def sizes_of(xb: Any, yb: Any) -> set[int]:
    """The numbers of items that a batch may have, as far as its input, or else its target, tells.

    A tensor tells it by its first dimension, a list that the model is given by its length. Several
    inputs may differ.

    Example:
        >>> sizes_of(torch.zeros(8, 3), None), sizes_of(([torch.zeros(3, 5)] * 4,), None)
        ({8}, {3, 4})
    """
    arguments = [xb] if isinstance(xb, (Tensor, PackedSequence)) else inside(xb) or ()
    sizes = {size for argument in arguments for size in _sizes(argument)}
    return sizes or set(_sizes(yb))


def _sizes(value: Any) -> set[int]:
    if isinstance(value, PackedSequence):
        return {int(value.batch_sizes[0])}
    if is_sequence(value):
        own = [inner for inner in cast(list[Any], value) if isinstance(inner, Tensor)]
        if len({tensor.shape for tensor in own}) > 1:  # each is an item, of a size of its own
            return {len(value)}
        return {len(value), *(tensor.size(0) for tensor in own if tensor.dim())}
    return {tensor.size(0) for tensor in tensors_in(value) if tensor.dim()}


# Lists: several outputs, or an entry for each item? ----------------------------------------------


def _are_entries_of_items(
    batches: Sequence[Any], sizes: Sequence[Collection[int]], name: str
) -> bool:
    is_list = isinstance(batches[0], list)
    if not all(_is_plain(batch, list if is_list else tuple) for batch in batches):
        return False
    lengths = [len(batch) for batch in batches]
    if is_list and len(set(lengths)) > 1:
        return True  # several outputs would be as many each time
    known = [set(size) for size in sizes] or [set[int]()] * len(batches)
    if is_list and all(map(_is_one_dict, batches)) and all(1 in size for size in known):
        return True  # batches of one item: a list of one output would be strange
    pairs = list(zip(lengths, known, strict=True))
    fits = all(length in size if size else is_list for length, size in pairs)
    if not fits or not all(map(_look_like_outputs, batches, known)):
        return fits
    if any(size != {length} for length, size in pairs):
        return False  # another number of items is likelier
    if all(names_inside(entry) is not None for batch in batches for entry in batch):
        return True
    if is_list and lengths[0] > 1:
        warnings.warn(_either(name, lengths[0]), stacklevel=3)
    return False


def _either(name: str, length: int) -> str:
    return (
        f"{name} is a list of {length} for each batch of {length}, and the tensors in it have the "
        f"length {length}, too. It may have an entry for each item; it is taken for {length} "
        "outputs, each of all items. If it is that, make it a tuple, e.g. with select=tuple; else "
        "make each entry a dict, e.g. with select=lambda out: [{'box': entry} for entry in out]."
    )


def _is_one_dict(values: Any) -> bool:
    return len(values) == 1 and is_mapping(values[0])


def _is_plain(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not is_named_tuple(value)


def _look_like_outputs(values: Any, sizes: Collection[int]) -> bool:
    """Whether each tensor in a list seems to be of all items, rather than each entry of one."""
    shapes = [t.shape[:2] for t in tensors_in(values) if t.dim() and not _is_unsized(t)]
    inner = list(inside(values) or ())
    if isinstance(values, tuple) and any(map(_is_tensor_or_list, inner)):
        # In Python a tuple is mostly several outputs; a recurrent state has its items second.
        return not shapes or any(size in shape for shape in shapes for size in sizes)
    first = {shape[0] for shape in shapes}
    return bool(first) and (first <= set(sizes) if sizes else len(first) == 1)


def _is_tensor_or_list(value: Any) -> bool:
    return isinstance(value, Tensor) or is_sequence(value)


# Tensors -----------------------------------------------------------------------------------------


def _joined_tensors(tensors: Sequence[Tensor], name: str) -> Any:
    first = tensors[0]
    if first.is_nested:
        return torch.nested.as_nested_tensor(_items(Tensor.unbind, tensors), layout=first.layout)
    if not first.dim():
        return torch.stack(list(tensors))
    same = len({tensor.shape[1:] for tensor in tensors}) == 1
    if first.layout == torch.strided or (first.layout == torch.sparse_coo and same):
        return torch.cat(list(tensors)) if same else _items(Tensor.unbind, tensors)
    raise TypeError(
        f"{name} is a tensor of layout {first.layout}; such tensors cannot be put end to end. Pick "
        "a dense one with select=, e.g. lambda out: out.to_dense()."
    )


def _is_unsized(tensor: Tensor) -> bool:
    return tensor.is_nested and tensor.layout == torch.strided


def _items(take_apart: Callable[[Any], Any], batches: Sequence[Any]) -> list[Any]:
    return [item for batch in batches for item in take_apart(batch)]


# Structure ---------------------------------------------------------------------------------------


def _check_alike(batches: Sequence[Any], name: str) -> None:
    forms = [_form(batch) for batch in batches]
    for number, form in enumerate(forms):
        if form != forms[0]:
            one, other = describe(batches[0]), describe(batches[number])
            squeezed = isinstance(batches[0], Tensor) and isinstance(batches[number], Tensor)
            hint = " squeeze() takes the dimension of a lone item, too." if squeezed else ""
            raise ValueError(
                f"{name} is {one} in batch 0, but {other} in batch {number}: to be joined, batches "
                f"must have the same structure.{hint} Return the same for every batch, or pick a "
                "part of the prediction with select=, e.g. lambda out: out['logits']."
            )


def _form(value: Any) -> Any:
    """What must be the same in all batches."""
    if isinstance(value, Tensor):
        return "tensor", value.dim(), value.layout, value.is_nested
    if is_mapping(value):
        return "mapping", frozenset(value.keys())
    if is_sequence(value):
        return type(value) if isinstance(value, tuple) else list, len(value)
    if (names := names_inside(value)) is not None:
        return type(value), tuple(names)
    return "other"

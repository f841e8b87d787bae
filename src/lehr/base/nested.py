"""What a batch is made of: its input, its target, and how many items it holds."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lehr.types import is_mapping, is_sequence


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
    size = f" of {len(batch)}" if is_sequence(batch) or is_mapping(batch) else ""
    raise TypeError(
        f"a batch must be a pair (xb, yb) or one tensor; got {type(batch).__name__}{size}. Give "
        "the Learner split_batch=, a function from a batch to (xb, yb), e.g. "
        "lambda b: (b['ids'], b['labels'])."
    )


def item_count(value: Any) -> int:
    """The number of items in a batch: the length of the first tensor (or list) found in it.

    Raises:
        TypeError: nothing in it has a length.

    Example:
        >>> import torch
        >>> item_count({"ids": torch.zeros(64, 12), "mask": None})
        64
    """
    if isinstance(value, Tensor) and value.ndim:
        return value.size(0)
    if (count := _first_count(value)) is not None:
        return count
    raise TypeError(
        f"cannot tell how many items a batch of {type(value).__name__} holds. Give the Learner "
        "weight=, a function from the run to a number, e.g. lambda run: len(run.batch)."
    )


def count_items(run: Any) -> int:
    """The number of items in ``run.xb``: a Learner's default weight."""
    xb = run.xb
    return xb.size(0) if isinstance(xb, Tensor) and xb.ndim else item_count(xb)


def _first_count(value: Any) -> int | None:
    if isinstance(value, Tensor):
        return value.size(0) if value.ndim else None
    if is_mapping(value) or is_sequence(value):
        inner = list(value.values()) if is_mapping(value) else list(value)
        if inner and isinstance(inner[0], (str, bytes, int, float)):
            return len(inner) if is_sequence(value) else None
        return next((n for n in map(_first_count, inner) if n is not None), None)
    return len(value) if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) else None


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a nesting of mappings, lists and tuples, in its order.

    Example:
        >>> [t.item() for t in tensors_in({"a": torch.tensor(1), "b": ["text", torch.tensor(2)]})]
        [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif is_mapping(value) or is_sequence(value):
        for inner in value.values() if is_mapping(value) else value:
            yield from tensors_in(inner)


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """``value`` with ``function`` applied to every tensor in it; nesting and other things stay.

    Example:
        >>> map_tensors(lambda t: t.item(), {"a": torch.tensor(1), "b": ["text", torch.tensor(2)]})
        {'a': 1, 'b': ['text', 2]}
    """
    if isinstance(value, Tensor):
        return function(value)
    if is_mapping(value):
        return {k: map_tensors(function, v) for k, v in value.items()}
    if is_sequence(value):
        return _like(value, [map_tensors(function, v) for v in value])
    return value


def _like(pattern: list[Any] | tuple[Any, ...], items: list[Any]) -> Any:
    if not isinstance(pattern, tuple):
        return items
    return type(pattern)(*items) if hasattr(pattern, "_fields") else tuple(items)  # a named tuple


def join(parts: Sequence[Any]) -> Any:
    """Batches of one nesting, put end to end along their first dimension.

    Example:
        >>> join([{"a": torch.zeros(2, 3)}, {"a": torch.zeros(1, 3)}])["a"].shape
        torch.Size([3, 3])
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if is_mapping(first):
        return {key: join([part[key] for part in parts]) for key in first}
    if is_sequence(first):
        return _like(first, [join(list(column)) for column in zip(*parts, strict=True)])
    raise TypeError(
        "predictions must be tensors, or tuples, lists or dicts of them; got "
        f"{type(first).__name__}. "
        "Watch after_pred with a callback of your own instead."
    )


def describe(value: Any) -> str:
    """Shapes, dtypes and devices of whatever a batch is made of.

    Example:
        >>> import torch
        >>> describe({"ids": torch.zeros(2, 3), "n": 4})
        '{ids: (2, 3) float32 cpu, n: int}'
    """
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} {value.device}"
    if is_mapping(value):
        inner = ", ".join(f"{k}: {describe(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if is_sequence(value):
        shown = [describe(v) for v in value[:4]]
        return f"[{', '.join(shown)}{', …' if len(value) > 4 else ''}]"
    return "None" if value is None else type(value).__name__

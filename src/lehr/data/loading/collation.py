"""Many items into one batch."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch.utils import data

from lehr.base.nested import placed
from lehr.types import is_mapping, is_sequence


def collate(items: Sequence[Any]) -> Any:
    """Stack a list of items into one batch of the same structure.

    Tensors, arrays and numbers are stacked; tuples, lists and dicts are gone through, also nested;
    strings become a list.

    Args:
        items: at least one item, all of the same structure and shapes.

    Returns:
        The batch: each tensor of shape ``(items, ...)``.

    Raises:
        ValueError: there is no item, or the items differ in shape or structure.
        TypeError: an item holds something that cannot be stacked.

    Example:
        >>> import torch
        >>> xb, yb = collate([(torch.zeros(2), 1), (torch.ones(2), 0)])
        >>> xb.shape, yb
        (torch.Size([2, 2]), tensor([1, 0]))
    """
    if not items:
        raise ValueError("collate needs at least one item; got none. Check the sampler's batches.")
    try:
        return cast(Callable[[list[Any]], Any], data.default_collate)(list(items))
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError) as error:
        difference = first_difference(items)
        if difference is None:
            raise
        raise ValueError(
            f"the items of a batch must have the same shapes; {difference}. "
            "Pass collate_fn= that pads them, or resize them in the dataset."
        ) from error


def first_difference(items: Sequence[Any]) -> str | None:
    """Where the first item that is unlike item 0 differs, in words; None if all are alike.

    Example:
        >>> first_difference([(1, "a"), (2, "b"), (3, "c", 4)])
        'item 2 has 3 parts and item 0 has 2 parts'
    """
    model = _forms(items[0])
    for number, item in enumerate(items):
        for place, form in _forms(item).items():
            if model.get(place, form) != form:
                at = f" at {place}" if place else ""
                return f"item {number} has {form}{at} and item 0 has {model[place]}"
    return None


def _forms(item: Any) -> dict[str, str]:
    """Shape, keys or number of parts of what is in an item, by its place."""
    forms = {place: _form(part) for place, part in placed(item)}
    return {place: form for place, form in forms.items() if form is not None}


def _form(part: Any) -> str | None:
    if part is None:
        return "None"
    shape = getattr(part, "shape", None)
    if shape is not None:
        return f"shape {tuple(shape)}"
    if is_mapping(part):
        return f"keys {list(part)}"
    return f"{len(part)} parts" if is_sequence(part) else None

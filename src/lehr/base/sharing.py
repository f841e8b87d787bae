"""How a batch is shared out among processes."""

from typing import Any, NamedTuple

from torch import Tensor

from lehr.base.counting import count
from lehr.base.nested import describe, inside, map_tensors, rebuilt
from lehr.types import is_sequence


class Share(NamedTuple):
    """Which part of every batch a process has.

    Parts differ by at most one item, lie one after another in the order of the ranks, and may be
    empty.

    Example:
        >>> [Share(rank, 3).of(4) for rank in range(3)]
        [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """

    rank: int = 0
    """number of the process"""
    world: int = 1
    """how many there are"""

    def of(self, items: int) -> slice:
        """The part of a batch of so many items."""
        each, more = divmod(items, self.world)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))


WHOLE = Share()
"""All of every batch"""


def part_of(batch: Any, share: Share) -> Any:
    """A process's part of a batch.

    Tensors are cut along their first dimension, which must be as long as the batch has items.
    Tensors without dimensions, and what has no length, belong to every part. So do the lists of a
    batch that have another length; those with an entry for each item are cut as well.

    Args:
        batch: any nesting of mappings, lists, tuples and tensors.
        share: which part.

    Raises:
        ValueError: it cannot be told how many items the batch has, or a tensor has another number.

    Example:
        >>> import torch
        >>> part_of({"ids": torch.arange(5), "scale": torch.tensor(2.0)}, Share(1, 2))
        {'ids': tensor([3, 4]), 'scale': tensor(2.)}
    """
    items = count(batch)
    if items is None:
        raise ValueError(f"a batch of {describe(batch)} cannot be shared out. {_DO}")
    part = share.of(items)

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.ndim and value.is_nested:
                raise ValueError(f"a nested tensor cannot be shared out. {_DO}")
            if value.ndim and value.size(0) != items:
                raise ValueError(
                    f"a batch of {items} items has a tensor of shape {tuple(value.shape)}, so it "
                    f"cannot be told which part of it belongs to which items. {_DO}"
                )
            return value[part] if value.ndim else value
        held = inside(value)
        if held is None:
            return value
        if _has_one_each(value, items):
            return value[part]
        return rebuilt(value, [cut(inner) for inner in held])

    return cut(batch)


_DO = (
    'Let every process read batches of its own, with Distributed(data="own"), or use lehr\'s '
    "DataLoader, which shares out the items before they are collated."
)


def _has_one_each(value: Any, items: int) -> bool:
    """Whether it is a list of texts or numbers, one for each item."""
    if not is_sequence(value) or not isinstance(value, list) or len(value) != items:
        return False
    return isinstance(value[0], (str, bytes, int, float))


def own_part(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor: its shard, or all of one that is not distributed.

    Example:
        >>> import torch
        >>> own_part(torch.ones(2))
        tensor([1., 1.])
    """
    to_local: Any = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def without_items(batch: Any) -> Any:
    """A batch of the same kind with no item in it.

    Example:
        >>> import torch
        >>> without_items((torch.ones(3, 2), torch.ones(3)))
        (tensor([], size=(0, 2)), tensor([]))
    """
    return map_tensors(lambda t: t[:0] if t.ndim else t, batch)

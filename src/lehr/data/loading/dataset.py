"""A pair of arrays that can be asked for one item, some, or all of a batch at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def as_tensor(values: Any) -> Tensor:
    """``values`` as a tensor; memory is shared where it may be written to, else copied."""
    flags = getattr(values, "flags", None)
    if flags is not None and not flags.writeable:
        values = values.copy()
    return torch.as_tensor(values)


class Dataset:
    """Inputs and targets of equal length, in memory.

    Any index that a tensor takes along its first dimension works: an int, a slice, a list of ints,
    an index tensor, a boolean mask.

    Args:
        x: inputs, ``(n, ...)``; a tensor, or anything that `torch.as_tensor` takes.
        y: targets, ``(n, ...)``.
        names: ``index -> text``, what to call an item before a reader, such as its file.

    Raises:
        ValueError: the lengths differ, or one of the two has no dimension to index.

    Example:
        >>> ds = Dataset(torch.arange(6).reshape(3, 2), [5, 0, 4])
        >>> len(ds), ds[1]
        (3, (tensor([2, 3]), tensor(0)))
        >>> ds[[2, 0]][1]
        tensor([4, 5])
    """

    def __init__(self, x: Any, y: Any, *, names: Callable[[int], str] | None = None) -> None:
        self.x, self.y = as_tensor(x), as_tensor(y)
        self.names = names
        for name, values in (("x", self.x), ("y", self.y)):
            if values.ndim == 0:
                raise ValueError(
                    f"{name} must have one entry an item; got the single value {values.item()}. "
                    f"Give a tensor of shape (items, ...), e.g. {name}[None]."
                )
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x and y must be equally long; got {len(self.x)} and {len(self.y)} items. "
                "Give one target for each input."
            )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: Any) -> tuple[Tensor, Tensor]:
        if isinstance(i, int) and not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is outside a dataset of {len(self)} items")
        return self.x[i], self.y[i]

    def name(self, i: int) -> str:
        """What to call item ``i`` before a reader.

        Example:
            >>> Dataset([1.0], [0], names="people.csv:{}".format).name(0)
            'people.csv:0'
        """
        return f"item {i}" if self.names is None else self.names(i)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The items at ``indices``, copied together in one go: a whole batch for one call.

        Args:
            indices: int64, ``(batch,)``; on any device.

        Returns:
            ``(xb, yb)``, of shapes ``(batch, ...)``, on the dataset's device.

        Example:
            >>> Dataset([[1.0], [2.0]], [0, 1]).gather(torch.tensor([1, 1]))[0].shape
            torch.Size([2, 1])
        """
        x, y = self.x, self.y
        if x.is_cpu and y.is_cpu and indices.is_cpu:
            return x.index_select(0, indices), y.index_select(0, indices)
        return x.index_select(0, indices.to(x.device)), y.index_select(0, indices.to(y.device))

    def __repr__(self) -> str:
        return f"Dataset({len(self)} items, x {tuple(self.x.shape)}, y {tuple(self.y.shape)})"

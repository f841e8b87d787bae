"""Arrays that can be asked for one item, some, or all of a batch at once."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base.sending import sent
from lehr.errors import sentence
from lehr.types import is_mapping


def as_tensor(name: str, values: Any) -> Tensor:
    """``values`` as a tensor; memory is shared where it may be written to, else copied.

    Raises:
        TypeError: it is no array of numbers that torch has; ``name`` is what it is called.

    Example:
        >>> as_tensor("x", [[1, 2]]).shape
        torch.Size([1, 2])
    """
    to_numpy = getattr(values, "to_numpy", None)  # pandas and its like
    try:
        array = values if to_numpy is None else to_numpy()
        if getattr(array, "mask", None) is not None and hasattr(array, "filled"):
            raise TypeError("it is masked, and a tensor has no mask. Give array.filled(value)")
        flags = getattr(array, "flags", None)
        return torch.as_tensor(array if flags is None or flags.writeable else array.copy())
    except (TypeError, ValueError, RuntimeError) as error:
        raise _no_array(name, values, error) from error


def _no_array(name: str, values: Any, error: Exception) -> TypeError:
    kind = getattr(values, "dtype", type(values).__name__)
    return TypeError(
        f"{name} must be a tensor or array of numbers, all items of one shape; got {kind}: "
        f"{sentence(error)}"
    )


class Dataset:
    """Inputs and targets of equal length, in memory or in a mapped file.

    Any index that a tensor takes along its first dimension works: an int, a slice, a list of ints,
    an index tensor, a boolean mask.

    An array that is mapped from a file, as by ``numpy.load(path, mmap_mode="r")``, stays there. The
    rows of a batch are read from the file, and of a file that has more than 512 MiB nothing is kept
    in memory. The tensor in ``x`` or ``y`` is the file itself: if that was mapped read-only,
    whoever writes to it ends the process. What ``gather`` returns is a copy.

    Args:
        x: inputs, ``(n, ...)``; a tensor, anything that `torch.as_tensor` takes, or a table or
            column of numbers of pandas. Or several of them: a tuple of tensors or arrays, or a
            dict; each batch is then one of the same kind.
        y: targets, ``(n, ...)``, in the same forms; None where there are none, or where they are
            in ``x``: then an item is ``x`` alone.
        names: ``index -> text``, what to call an item before a reader, such as its file.

    Raises:
        TypeError: something is no array of numbers that torch has.
        ValueError: the lengths differ, there is no array at all, or one has no dimension to index.

    Example:
        >>> ds = Dataset(torch.arange(6).reshape(3, 2), [5, 0, 4])
        >>> len(ds), ds[1]
        (3, (tensor([2, 3]), tensor(0)))
        >>> ds[[2, 0]][1]
        tensor([4, 5])
        >>> Dataset({"ids": [[1, 2], [3, 4]], "labels": [0, 1]})[1]
        {'ids': tensor([3, 4]), 'labels': tensor(1)}
    """

    def __init__(self, x: Any, y: Any = None, *, names: Callable[[int], str] | None = None) -> None:
        self._mapped: dict[int, Any] = {}
        self.x: Any = self._held("x", x)
        self.y: Any = None if y is None else self._held("y", y)
        self.names = names
        parts = [*_parts("x", self.x), *(() if y is None else _parts("y", self.y))]
        for name, values in parts:
            if values.ndim == 0:
                raise ValueError(
                    f"{name} must have one entry an item; got the single value {values.item()}. "
                    f"Give a tensor of shape (items, ...), e.g. {name}[None]."
                )
        if not parts:
            raise ValueError(
                f"x must hold at least one tensor; got {x!r}. Give e.g. a tensor, a tuple or a "
                "dict of tensors."
            )
        first, values = parts[0]
        for name, other in parts:
            if len(other) != len(values):
                raise ValueError(
                    f"{first} and {name} must be equally long; got {len(values)} and {len(other)} "
                    f"items. {'Give one target for each input.' if name == 'y' else 'Cut one.'}"
                )

    def __len__(self) -> int:
        x = self.x
        return len(x) if x.__class__ is Tensor else len(_parts("x", x)[0][1])

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, int) and not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is outside a dataset of {len(self)} items")
        x = _changed(self.x, lambda values: values[i])
        return x if self.y is None else (x, _changed(self.y, lambda values: values[i]))

    def name(self, i: int) -> str:
        """What to call item ``i`` before a reader.

        Example:
            >>> Dataset([1.0], [0], names="people.csv:{}".format).name(0)
            'people.csv:0'
        """
        return f"item {i}" if self.names is None else self.names(i)

    def gather(self, indices: Tensor) -> Any:
        """The items at ``indices``, copied together in one go: a whole batch for one call.

        Args:
            indices: int64, ``(batch,)``; on any device.

        Returns:
            ``(xb, yb)``, of shapes ``(batch, ...)``, on the dataset's device; or ``xb`` alone, if
            there is no ``y``.

        Example:
            >>> Dataset([[1.0], [2.0]], [0, 1]).gather(torch.tensor([1, 1]))[0].shape
            torch.Size([2, 1])
        """
        x, y = self.x, self.y
        if x.__class__ is y.__class__ is Tensor and not self._mapped:  # what most sets are
            if x.is_cpu and y.is_cpu and indices.is_cpu:
                return x.index_select(0, indices), y.index_select(0, indices)
            of_x = sent(indices, x.device)
            of_y = of_x if y.device == x.device else sent(indices, y.device)
            return x.index_select(0, of_x), y.index_select(0, of_y)
        if self._mapped:
            xb = _changed(x, lambda values: self._rows(values, indices))
            return xb if y is None else (xb, _changed(y, lambda part: self._rows(part, indices)))
        xb = _selected(x, indices)
        return xb if y is None else (xb, _selected(y, indices))

    def _rows(self, values: Tensor, indices: Tensor) -> Tensor:
        mapped = self._mapped.get(id(values))
        if mapped is not None and mapped.tensor is values:  # of a copy, it is not
            return mapped.gather(indices.cpu())
        return _selected(values, indices)

    def _held(self, name: str, values: Any) -> Any:
        """``values`` as a tensor, or as a tuple or a dict of them."""
        if is_mapping(values):
            return {key: self._held(_part_of(name, key), part) for key, part in values.items()}
        if isinstance(values, tuple) and _is_array(values):
            parts = enumerate(cast("tuple[Any, ...]", values))
            return tuple(self._held(_part_of(name, i), part) for i, part in parts)
        if not hasattr(cast(Any, values), "filename"):
            return as_tensor(name, values)
        from lehr.base.mapped import MappedRows, mapping_of  # most sets have none

        if mapping_of(values) is None:
            return as_tensor(name, values)
        try:
            mapped = MappedRows(values)
        except (TypeError, ValueError) as error:
            raise _no_array(name, values, error) from error
        self._mapped[id(mapped.tensor)] = mapped
        return mapped.tensor

    def __repr__(self) -> str:
        shapes = [f"x {_shape(self.x)}", *([] if self.y is None else [f"y {_shape(self.y)}"])]
        return f"Dataset({len(self)} items, {', '.join(shapes)})"


def _is_array(value: Any) -> bool:
    """Whether it is one of several inputs, and no number of a single one."""
    if isinstance(value, tuple):
        return all(map(_is_array, cast("tuple[Any, ...]", value)))
    return is_mapping(value) or getattr(value, "ndim", 0) > 0


def _selected(value: Any, indices: Tensor) -> Any:
    if value.__class__ is dict:
        return {name: _selected(part, indices) for name, part in value.items()}
    if value.__class__ is tuple:
        return tuple([_selected(part, indices) for part in value])
    if value.is_cpu and indices.is_cpu:
        return value.index_select(0, indices)
    return value.index_select(0, sent(indices, value.device))


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, dict):
        return {name: _changed(part, change) for name, part in cast("Any", value).items()}
    if isinstance(value, tuple):
        return tuple([_changed(part, change) for part in cast("Any", value)])
    return change(value)


def _part_of(name: str, key: Any) -> str:
    """What messages call one of several inputs."""
    return f"{name}[{key!r}]"


def _parts(name: str, value: Any) -> list[tuple[str, Tensor]]:
    """Every tensor, with what messages call it."""
    if isinstance(value, dict):
        inner: Any = cast("Any", value).items()
    elif isinstance(value, tuple):
        inner = enumerate(cast("Any", value))
    else:
        return [(name, value)]
    return [one for key, part in inner for one in _parts(_part_of(name, key), part)]


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        parts = [f"{name}: {_shape(part)}" for name, part in cast("Any", value).items()]
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, tuple):
        return f"({', '.join([_shape(part) for part in cast('Any', value)])})"
    return str(tuple(value.shape))

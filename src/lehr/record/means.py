"""A weighted mean that never waits for a device, exact whenever it is read or kept."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lehr.errors import item_weight


class Mean:
    """A weighted mean of numbers that may live on a device; adding never waits for the device.

    Values are kept as they come and folded 256 at a time, in double precision where the device has
    it. Reading folds nothing, so no bit of the mean depends on when it was read.

    Example:
        >>> mean = Mean()
        >>> mean.add(0.6, 32); mean.add(torch.tensor(0.9), 2)
        >>> round(mean.value, 6)      # the unweighted mean is 0.75
        0.617647
    """

    __slots__ = ("_each", "_pending", "_total", "_weight")

    def __init__(self) -> None:
        self._total: float | Tensor = 0.0
        self._weight = self._each = 0.0
        self._pending: list[float | Tensor] = []

    def add(self, value: float | Tensor, weight: float) -> None:
        """Count ``value`` ``weight`` times; a weight of 0 counts nothing, nan included.

        Raises:
            ValueError: the value is a tensor of several numbers, or the weight is negative, nan or
                infinite.
            TypeError: the value is complex, or the weight is no number.
        """
        if weight != self._each:
            weight = item_weight(weight)
        if not weight:
            return
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(
                f"a mean is over numbers; got a tensor of shape {tuple(value.shape)}. Reduce it "
                "first, e.g. with .mean()."
            )
        if weight != self._each or len(self._pending) == 256:
            self._total, self._weight = self.total, self.weight
            self._pending, self._each = [], weight
        self._pending.append(kept(value) if isinstance(value, Tensor) else float(value))

    def add_all(self, values: Tensor, weights: Sequence[float]) -> None:
        """Count a tensor of values ``(n,)``, each with its weight."""
        end = 0
        for weight, same in groupby(weights):
            start, end = end, end + len(list(same))
            if weight:
                self._total = self._total + _sum(values[start:end]) * weight
                self._weight += weight * (end - start)

    @property
    def total(self) -> float | Tensor:
        """The weighted sum of what was counted, on its device."""
        # What is pending has one weight: a Python number, so nothing is copied to the device.
        if not self._pending:
            return self._total
        return self._total + _sum(as_tensor(self._pending)) * self._each

    @property
    def weight(self) -> float:
        """The weight of what was counted."""
        return self._weight + self._each * len(self._pending)

    @property
    def value(self) -> float | None:
        """The mean, read from the device now; None if nothing was counted."""
        weight = self.weight
        return float(self.total) / weight if weight else None

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next bit depends on, as plain containers of numbers and tensors."""
        weight, each = float(self._weight), float(self._each)
        return {
            "total": self._total,
            "weight": weight,
            "each": each,
            "pending": packed(self._pending),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on as the mean that `state_dict` was taken of would, bit for bit."""
        self._total, self._weight = state_dict["total"], state_dict["weight"]
        self._each, self._pending = state_dict["each"], unpacked(state_dict["pending"])


def kept(value: Tensor) -> float | Tensor:
    """What a tensor of one element is now, without a graph, and for good.

    That is a Python number where reading waits for nothing, and a copy on its device elsewhere. The
    tensor itself could be overwritten, and would hold all of what it is a view of.

    Raises:
        TypeError: it is complex.

    Example:
        >>> reused = torch.ones(1)
        >>> before = kept(reused)
        >>> reused += 1; before
        1.0
    """
    if value.is_cpu:  # less work than detaching, and much less than a copy
        number: Any = value.item()
        if number.__class__ is not complex:
            return number
    if value.is_complex():
        raise TypeError(
            f"a recorded number must be real; got a tensor of {value.dtype}. Record its .real, its "
            ".imag or its .abs()."
        )
    return value.detach().clone().reshape(())


def as_tensor(numbers: Sequence[float | Tensor]) -> Tensor:
    """Numbers, each as `kept` returns it, as a tensor ``(n,)``: of doubles where they were read.

    Example:
        >>> as_tensor([1, 2.5])
        tensor([1.0000, 2.5000], dtype=torch.float64)
    """
    if any(issubclass(kind, Tensor) for kind in set(map(type, numbers))):
        double = torch.float64
        tensors = [n if isinstance(n, Tensor) else torch.tensor(n, dtype=double) for n in numbers]
        return stacked(tensors)
    return torch.tensor(numbers, dtype=torch.float64)


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape as one; on the device of the last, should they be on several.

    They are where a state that was on the CPU is gone on with elsewhere.
    """
    try:
        return torch.stack(list(tensors))
    except RuntimeError:  # to look at every device first would cost as much as the stacking
        return torch.stack([tensor.to(tensors[-1].device) for tensor in tensors])


def packed(values: Sequence[Any]) -> list[Any]:
    """Numbers for a state, in few pieces: 0-d tensors of one dtype in a row become one, on the CPU.

    Example:
        >>> packed([torch.tensor(1.0), torch.tensor(2.0), 3.0, None])
        [tensor([1., 2.]), [3.0, None]]
    """
    pieces: list[Any] = []
    for dtype, same in groupby(values, key=lambda value: getattr(value, "dtype", None)):
        part = list(same)
        if isinstance(part[0], Tensor):
            pieces.append(stacked(part).detach().cpu())
        else:
            pieces.append([value if dtype is None else value.item() for value in part])
    return pieces


def unpacked(pieces: Sequence[Any]) -> list[Any]:
    """The numbers that `packed` was given.

    Example:
        >>> unpacked([torch.tensor([1.0, 2.0]), [3.0, None]])
        [tensor(1.), tensor(2.), 3.0, None]
    """
    numbers: list[Any] = []
    for piece in pieces:
        numbers.extend(piece.unbind() if isinstance(piece, Tensor) else piece)
    return numbers


def exact(values: Tensor) -> Tensor:
    """``values`` in double precision, where their device has it."""
    return values if values.device.type == "mps" else values.double()


def _sum(values: Tensor) -> float | Tensor:
    return kept(exact(values).sum())

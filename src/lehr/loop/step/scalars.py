"""Numbers that a graph reads from tensors, so that another value needs no other graph."""

import math
from collections.abc import Hashable
from typing import Any, final

import torch
from torch import Tensor


@final
class Number:
    """A number in a tensor, so that another value needs no other graph.

    Args:
        device: of the tensor.

    Example:
        >>> number = Number()
        >>> number.of(0.5) is number.of(0.25), number.of(0.25)
        (True, tensor(0.2500, dtype=torch.float64))
    """

    __slots__ = ("_tensor", "_value")

    def __init__(self, device: torch.device | None = None) -> None:
        self._tensor = torch.zeros((), dtype=torch.float64, device=device)
        self._value = 0.0

    def of(self, value: Any) -> Tensor:
        """The tensor, with this value."""
        if isinstance(value, Tensor):
            self._value = math.nan  # unknown: any number is another
            self._tensor.copy_(value.reshape(()))
        elif value != self._value:
            self._value = value
            self._tensor.fill_(value)
        return self._tensor


@final
class Numbers(dict[Hashable, Number]):
    """Numbers by name; each is made when it is asked for, and stays.

    Args:
        device: of the tensors.

    Example:
        >>> numbers = Numbers()
        >>> numbers["lr"] is numbers["lr"]
        True
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self._device = device

    def __missing__(self, name: Hashable) -> Number:
        made = self[name] = Number(self._device)
        return made

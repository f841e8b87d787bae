"""A number that a graph takes as a tensor."""

from typing import Any, final

import torch
from torch import Tensor


@final
class Number:
    """A number in a tensor, so that another value needs no other graph.

    Example:
        >>> number = Number()
        >>> number.of(0.5) is number.of(0.25), number.of(0.25)
        (True, tensor(0.2500, dtype=torch.float64))
    """

    __slots__ = ("_tensor", "_value")

    def __init__(self) -> None:
        self._tensor, self._value = torch.zeros((), dtype=torch.float64), 0.0

    def of(self, value: Any) -> Tensor:
        """The tensor, with this value; a tensor stays as it is."""
        if isinstance(value, Tensor):
            return value
        if value != self._value:
            self._value = value
            self._tensor.fill_(value)
        return self._tensor

"""Gradients of windows that a CUDA graph gathers, which stay in one place."""

from typing import Any, final

import torch
from torch import Tensor


@final
class KeptGradients:
    """For each parameter a tensor that holds the gradient of every window, whoever begins it.

    A CUDA graph adds to where the gradients were when it was captured. For those of another place,
    torch would capture another graph, and without end.

    Example:
        >>> kept, p = KeptGradients(), torch.nn.Parameter(torch.ones(1))
        >>> p.grad = torch.ones(1)
        >>> place = kept.of(p)
        >>> p.grad is place, place
        (True, tensor([1.]))
        >>> p.grad = None
        >>> kept.of(p) is place, place
        (True, tensor([0.]))
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, parameter: Tensor) -> Tensor:
        """The gradient that a parameter holds, in its place; zeros if it holds none."""
        _, place = self._places.get(id(parameter), (None, None))
        if place is None or _kind(place) != _kind(parameter):
            place = torch.zeros_like(parameter, requires_grad=False)
            self._places[id(parameter)] = parameter, place  # held, so that its id stays its own
        if parameter.grad is None:
            place.zero_()
        elif parameter.grad is not place:
            place.copy_(parameter.grad)
        parameter.grad = place
        return place


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device

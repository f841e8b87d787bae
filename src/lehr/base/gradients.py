"""The gradients that parameters hold, put aside and back."""

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor


def put_aside_gradients(parameters: Iterable[Tensor]) -> Callable[[], None]:
    """Let the parameters have no gradient; returns a function that gives each back what it had.

    Example:
        >>> import torch
        >>> weight = torch.ones(1, requires_grad=True)
        >>> back = put_aside_gradients([weight])
        >>> (3 * weight).sum().backward(); weight.grad
        tensor([3.])
        >>> back(); weight.grad is None
        True
    """
    held = [(p, p.grad) for p in parameters]
    for p, _ in held:
        p.grad = None
    return partial(_give_back, held)


def _give_back(held: list[tuple[Tensor, Tensor | None]]) -> None:
    for p, grad in held:
        p.grad = grad

"""The gradients that parameters hold: their norm, and how they are put aside and back."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.utils import get_total_norm


def dense_values(gradient: Tensor) -> Tensor:
    """What a gradient holds: of a sparse one the values that it has, else itself.

    Args:
        gradient: of any shape; if it is sparse, it is coalesced: each of its places is there once.

    Example:
        >>> import torch
        >>> dense_values(torch.eye(2).to_sparse())
        tensor([1., 1.])
    """
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def total_norm(gradients: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """The norm of all gradients together, as of one long vector.

    Args:
        gradients: of any shapes, dense or sparse.
        norm_type: 2.0, or ``math.inf`` for the largest absolute value.

    Returns:
        A tensor of one number.

    Example:
        >>> import torch
        >>> total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
        tensor(5.)
    """
    whole, sharded = list[Tensor](), list[Any]()
    for gradient in gradients:
        values = dense_values(gradient)
        held: list[Any] = sharded if hasattr(values, "full_tensor") else whole
        held.append(values)
    if sharded:  # of several processes, each has a part of these, and all of the others
        norm: Any = get_total_norm(sharded, norm_type)
        whole.append(norm.full_tensor())
    return get_total_norm(whole, norm_type)


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

"""What a weight must be, before anything is written into it."""

from torch import Tensor
from torch.nn.parameter import UninitializedParameter


def check_weight(weight: object, *, least_dims: int = 2) -> None:
    """Nothing, if ``weight`` is a floating-point tensor of at least ``least_dims`` dimensions.

    Args:
        weight: what was given as a weight.
        least_dims: 2 for a matrix, 3 for the weight of a convolution.

    Raises:
        TypeError: it is no tensor, or one of whole, complex or truth values.
        ValueError: it is lazy and has no shape yet, has too few dimensions, or is empty.

    Example:
        >>> import torch
        >>> check_weight(torch.zeros(50, 784))
        >>> check_weight(torch.zeros(50))
        Traceback (most recent call last):
        ...
        ValueError: weight must have at least 2 dimensions; got shape (50,). Leave biases and ...
    """
    if not isinstance(weight, Tensor):
        todo = "Give e.g. layer.weight."
        raise TypeError(f"weight must be a tensor; got {type(weight).__name__}. {todo}")
    if isinstance(weight, UninitializedParameter):
        todo = "Call the model on one batch first."
        raise ValueError(f"weight must have a shape; got a lazy parameter without one. {todo}")
    if not weight.is_floating_point():
        todo = "Convert it, e.g. weight.float()."
        raise TypeError(f"weight must hold floating-point numbers; got {weight.dtype}. {todo}")
    shape = tuple(weight.shape)
    if weight.ndim < least_dims:
        todo = (
            "Leave biases and scales out."
            if least_dims == 2
            else "Use orthogonal_ for a matrix; this is for the weight of a convolution."
        )
        raise ValueError(
            f"weight must have at least {least_dims} dimensions; got shape {shape}. {todo}"
        )
    if not weight.numel():
        raise ValueError(f"weight must not be empty; got shape {shape}. Give each size at least 1.")


def per_group(weight: Tensor, groups: int) -> tuple[Tensor, ...]:
    """Views of ``weight``, one for each group of a grouped convolution.

    Args:
        weight: as a layer stores it; the groups share its first dimension.
        groups: how many; it divides that dimension.

    Raises:
        ValueError: ``groups`` is no divisor of the first dimension, or below 1.

    Example:
        >>> import torch
        >>> [tuple(part.shape) for part in per_group(torch.zeros(8, 3, 5), 2)]
        [(4, 3, 5), (4, 3, 5)]
    """
    if groups < 1 or len(weight) % groups:
        todo = "Give the layer's own number, e.g. groups=layer.groups."
        raise ValueError(
            f"groups must divide the weight's first size, {len(weight)}; got {groups}. {todo}"
        )
    return weight.chunk(groups)

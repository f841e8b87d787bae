"""A copy of anything on the CPU, which nothing that happens later can change."""

import copy
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from lehr.base.interrupts import call_uninterrupted
from lehr.base.nested import map_leaves


def copied_to_cpu(value: Any) -> Any:
    """A copy of ``value`` whose tensors are on the CPU, and part of no graph.

    Containers are taken apart, as `lehr.base.nested.inside` says. Any other object, such as a cache
    or a distribution, is copied as `copy.deepcopy` does.

    Raises:
        TypeError: something in it cannot be copied, such as a generator.

    Example:
        >>> import torch
        >>> copied_to_cpu({"a": torch.ones(2, requires_grad=True)})
        {'a': tensor([1., 1.])}
    """
    return map_leaves(_copied, value)


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return _tensor(leaf)
    copies: list[Any] = []
    try:
        call_uninterrupted(lambda: copies.append(_deep_copy(leaf)))  # or torch's mode may stay on
        return copies[0]
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise TypeError(f"{type(leaf).__name__} cannot be copied: {error}") from error


def _deep_copy(leaf: Any) -> Any:
    with _TensorsToCPU():
        return copy.deepcopy(leaf)


def _tensor(tensor: Tensor) -> Tensor:
    # Also on the CPU: the model may write its next output there, or have returned a part of more.
    return tensor.detach().to("cpu", copy=True)


class _TensorsToCPU(TorchFunctionMode):
    """Where it is active, a deep copy puts tensors on the CPU, and leaves their graph out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__:
            return _tensor(args[0])
        return func(*args, **(kwargs or {}))

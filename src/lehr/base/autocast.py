"""Tensors that autocast has made half precise, brought back to single precision."""

from typing import Any

import torch
from torch import Tensor

from lehr.base.nested import map_tensors

_HALVES = (torch.bfloat16, torch.float16)


def in_single_precision(value: Any) -> Any:
    """A nested value, whose half-precision tensors are float32; where autocast is off, as it is.

    Call it inside the autocast that has made the value. What is half precise without autocast is so
    because the user wants it, and stays.

    Example:
        >>> layer, x = torch.nn.Linear(2, 1), torch.ones(3, 2)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     out = layer(x)
        ...     out.dtype, in_single_precision(out).dtype
        (torch.bfloat16, torch.float32)
        >>> in_single_precision(out).dtype
        torch.bfloat16
    """
    return map_tensors(_single, value)


def _single(tensor: Tensor) -> Tensor:
    half = tensor.dtype in _HALVES and torch.is_autocast_enabled(tensor.device.type)
    return tensor.float() if half else tensor

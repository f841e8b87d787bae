"""Tensors go to another device without anybody waiting there, where that is safe."""

import torch
from torch import Tensor


def sent(tensor: Tensor, to: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """``tensor`` on a device, which is not waited for if it is a CUDA device.

    CUDA has read what is not pinned when the call returns, and keeps what is pinned until it has.
    From anywhere else, and to anywhere else, the copy could be read before it is there.

    Args:
        tensor: on any device.
        to: where it is wanted.
        dtype: of the copy; None for the tensor's own.

    Example:
        >>> sent(torch.tensor([2, 0]), torch.device("cpu"), torch.float32)
        tensor([2., 0.])
    """
    return tensor.to(to, dtype, non_blocking=tensor.is_cpu and to.type == "cuda")

"""Makes one batch out of many items."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def collate(items: Sequence[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Stacks (x, y) pairs into a batch of inputs and a batch of targets."""
    return _stack("inputs", [x for x, _ in items]), _stack("targets", [y for _, y in items])


def _stack(name: str, values: Sequence[Any]) -> Tensor:
    tensors = [torch.as_tensor(value) for value in values]
    shapes = {tuple(t.shape) for t in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f"{name} of a batch must have one shape; got {sorted(shapes)}. "
            "Pad or crop them, or pass a collate_fn that does."
        )
    return torch.stack(tensors)

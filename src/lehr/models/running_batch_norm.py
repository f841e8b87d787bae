"""Batch normalisation that holds with batches of two."""

import math
from typing import final

import torch
from torch import Tensor, nn

from lehr.errors import above_zero, positive_int

_FEW = 20  # items, before which no variance below 0.01 is believed


@final
class RunningBatchNorm(nn.Module):
    """Normalises each channel by running statistics, in training as in evaluation.

    Batch normalisation divides by the deviation of the batch at hand, which is nonsense for batches
    of two. Here sums, sums of squares and counts are averaged over the batches so far, and the
    gradient goes through what this batch adds to them ::

        mean = Σx / n        variance = Σx² / n - mean²
        y = γ (x - mean) / √(variance + eps) + β

    A batch of b items replaces the share 1 - (1 - momentum) / √(b - 1) of the averages: the larger
    it is, the more it counts. Sums and counts are averaged alike, so the first batches need no
    correction. The statistics are kept in float32, also where ``x`` has half precision. `SWA` and
    `Freeze` treat it as they treat torch's BatchNorm.

    Args:
        features: channels, the second dimension of what comes in; at least 1.
        eps: added to the variance; above 0.
        momentum: the share that a batch of two replaces; above 0, at most 1. With None the
            statistics are those of all batches since `reset_running_stats`, as in torch.

    Raises:
        TypeError, ValueError: an argument cannot be used; an input has other channels.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> norm = RunningBatchNorm(3)
        >>> for _ in range(500):
        ...     y = norm(torch.randn(2, 3, 8, 8) * 5 + 2)
        >>> round(y.mean().item(), 1), round(y.std().item(), 1)
        (0.0, 1.0)

    Reference:
        fast.ai's "Deep learning from the foundations", 2019, lesson 10, where a batch of one item
        divides by zero; here it counts as one of two.
    """

    sums: Tensor
    squares: Tensor
    count: Tensor
    items: Tensor
    num_batches_tracked: Tensor
    track_running_stats = True

    def __init__(self, features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.features = positive_int("features", features, example=64)
        self.eps = above_zero("eps", eps)
        self.momentum = None if momentum is None else above_zero("momentum", momentum)
        if self.momentum is not None and self.momentum > 1:
            raise ValueError(f"momentum must be at most 1; got {momentum}. Give e.g. 0.1.")
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("sums", torch.zeros(features))
        self.register_buffer("squares", torch.zeros(features))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("items", torch.zeros(()))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @torch.no_grad()
    def reset_running_stats(self) -> None:
        """Forget all batches so far."""
        for buffer in self.buffers(recurse=False):
            buffer.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``, ``(batch, features, …)``."""
        if x.ndim < 2 or x.shape[1] != self.features:
            raise ValueError(
                f"x must have the shape (batch, {self.features}, …); got {tuple(x.shape)}. Make it "
                "for as many channels as come in."
            )
        if self.training:
            sums, squares, count = self._with(x)
        else:
            sums, squares, count = self.sums, self.squares, self.count
        mean = sums / count.clamp(min=1e-12)
        least = torch.where(self.items < _FEW, 0.01, 0.0)
        variance = torch.maximum(squares / count.clamp(min=1e-12) - mean.square(), least)
        variance = torch.where(self.items > 0, variance, 1.0)  # nothing was seen yet
        factor = self.weight * (variance + self.eps).rsqrt()
        shape = (1, -1, *[1] * (x.ndim - 2))
        shifted = x * factor.view(shape) + (self.bias - mean * factor).view(shape)
        return shifted.to(x.dtype)

    def _with(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The running sums, sums of squares and count, with this batch in them."""
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        over = [d for d in range(x.ndim) if d != 1]
        count = self.count.new_tensor(x.numel() / self.features)
        share = self._share(len(x))
        sums = torch.lerp(self.sums, values.sum(over).to(self.sums), share)
        squares = torch.lerp(self.squares, values.square().sum(over).to(self.squares), share)
        count = torch.lerp(self.count, count, share)
        with torch.no_grad():
            self.sums.copy_(sums)
            self.squares.copy_(squares)
            self.count.copy_(count)
            self.items += len(x)
            self.num_batches_tracked += 1
        return sums, squares, count

    def _share(self, items: int) -> Tensor | float:
        """How much of the averages a batch of so many items replaces."""
        if self.momentum is None:
            return 1 / (self.num_batches_tracked + 1).to(self.sums)
        return 1 - (1 - self.momentum) / math.sqrt(max(items - 1, 1))

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of it."""
        return f"{self.features}, eps={self.eps}, momentum={self.momentum}"

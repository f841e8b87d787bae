"""A rectifier that leaks, is shifted and has a ceiling."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lehr.errors import real_number


@final
class GeneralReLU(nn.Module):
    """``max(x, leak · x) - sub``, and no more than ``ceiling``.

    A plain rectifier lets through what is positive, so what the next layer reads has a mean far
    above 0. ``sub`` takes some of it away: 0.4 is the mean of max(z, 0) for z ~ N(0, 1).

    Args:
        leak: the slope for negative inputs.
        sub: what is subtracted; it is kept with the weights, and not trained. `lehr.init.lsuv` sets
            it to what brings the mean to 0.
        ceiling: outputs are at most this; None sets no limit.

    Raises:
        TypeError: an argument is no number.
        ValueError: one is not finite.

    Example:
        >>> GeneralReLU(leak=0.1, sub=0.4, ceiling=6.0)(torch.tensor([-1.0, 0.5, 9.0]))
        tensor([-0.5000,  0.1000,  6.0000])

    Reference:
        fast.ai's "Deep learning from the foundations", 2019, lesson 10.
    """

    sub: Tensor

    def __init__(self, leak: float = 0.0, sub: float = 0.0, ceiling: float | None = None) -> None:
        super().__init__()
        self.leak = real_number("leak", leak)
        self.register_buffer("sub", torch.tensor(real_number("sub", sub)))
        self.ceiling = None if ceiling is None else real_number("ceiling", ceiling)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        x = F.leaky_relu(x, self.leak) if self.leak else F.relu(x)
        x = x - self.sub
        return x if self.ceiling is None else x.clamp(max=self.ceiling)

    def shift_(self, mean: Tensor) -> None:
        """Subtract so much more from now on."""
        self.sub += mean.to(self.sub)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of it."""
        return f"leak={self.leak}, sub={self.sub.item():.4g}, ceiling={self.ceiling}"

"""A residual block that needs no normalisation."""

from typing import final

from torch import Tensor, nn

from lehr.init.fixup import ScalarBias, ScalarScale
from lehr.models.shortcut import shortcut


@final
class FixupBlock(nn.Module):
    """Two 3 by 3 convolutions without normalisation, added to what came in.

    A learnt number is added before each convolution and each activation, and the branch ends with
    a learnt factor. The weights make it train: see `lehr.init.fixup_`, which `resnet` calls.

    Args:
        n_in: channels that come in.
        n_out: channels that leave.
        halve: halve height and width, rounding up, as `ResidualBlock` does.

    Example:
        >>> import torch
        >>> FixupBlock(8, 16, halve=True)(torch.zeros(1, 8, 7, 7)).shape
        torch.Size([1, 16, 4, 4])

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization", 2019, figure 1.
    """

    def __init__(self, n_in: int, n_out: int, *, halve: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ScalarBias(),
            nn.Conv2d(n_in, n_out, 3, stride=2 if halve else 1, padding=1, bias=False),
            ScalarBias(),
            nn.ReLU(inplace=True),
            ScalarBias(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            ScalarScale(),
            ScalarBias(),
        )
        project = [ScalarBias(), nn.Conv2d(n_in, n_out, 1, bias=False)] if n_in != n_out else []
        self.shortcut = shortcut(*project, halve=halve)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, n_in, height, width)`` to ``(batch, n_out, …)``."""
        return self.act(self.body(x) + self.shortcut(x))

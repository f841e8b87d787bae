"""A small residual network for images of any size."""

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from lehr.errors import positive_int
from lehr.init.fixup import ScalarBias, fixup_
from lehr.models.fixup_block import FixupBlock
from lehr.models.shortcut import shortcut


@final
class ResidualBlock(nn.Module):
    """Two 3 by 3 convolutions, added to what came in.

    The first halves the image if asked to; what came in is then averaged over 2 by 2 pixels, and a
    1 by 1 convolution brings it to the new width. The last normalisation starts at zero, so that
    a new block passes on what came in.

    Args:
        n_in: channels that come in.
        n_out: channels that leave.
        halve: halve height and width, rounding up.

    Example:
        >>> import torch
        >>> ResidualBlock(8, 16, halve=True)(torch.zeros(1, 8, 7, 7)).shape
        torch.Size([1, 16, 4, 4])
    """

    def __init__(self, n_in: int, n_out: int, *, halve: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=2 if halve else 1, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        nn.init.zeros_(self.body[-1].weight)  # type: ignore[reportArgumentType]
        project: list[nn.Module] = []
        if n_in != n_out:
            project = [nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
        self.shortcut = shortcut(*project, halve=halve)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, n_in, height, width)`` to ``(batch, n_out, …)``."""
        return self.act(self.body(x) + self.shortcut(x))


def resnet(
    channels_in: int = 3,
    classes: int = 10,
    *,
    widths: Sequence[int] = (32, 64, 128),
    blocks: int = 1,
    stem_stride: int = 1,
    norm: bool = True,
) -> nn.Sequential:
    """Residual blocks of growing width, averaged over the image, then one linear layer.

    A 3 by 3 convolution leads into the first width; each further width halves the image, rounding
    up, so 28 pixels become 14 and 7. Any size from one pixel on does. ``stem_stride=2`` is four
    times as fast; use it, and a fourth width, from 64 pixels on, or to look around first.

    In the ``channels_last`` memory format of both model and images a CPU is a third faster.

    Args:
        channels_in: channels of an image.
        classes: numbers in a prediction.
        widths: channels of each stage.
        blocks: residual blocks in a stage.
        stem_stride: 2 halves the image before the first block.
        norm: normalise batches. Without, each block is a `FixupBlock`, and `lehr.init.fixup_` draws
            the weights: the net trains alike at any depth, and its last layer starts at zero.

    Returns:
        A model from ``(batch, channels_in, height, width)`` to ``(batch, classes)``.

    Raises:
        ValueError: ``widths`` is empty, or a number is below 1.
        TypeError: a number is no int.

    Example:
        >>> sum(p.numel() for p in resnet(1, 10).parameters())
        308074

    Reference:
        He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015, with the
        average-pooling shortcut of He et al., "Bag of tricks for image classification with
        convolutional neural networks", 2018 (ResNet-D), and the zero start of a block's last
        normalisation of Goyal et al., "Accurate, large minibatch SGD", 2017. Without normalisation,
        Zhang, Dauphin and Ma, "Fixup initialization", 2019.
    """
    if not widths:
        raise ValueError(
            "widths must hold at least one width; got none. Give e.g. widths=(32, 64)."
        )
    channels_in, classes = (
        positive_int("channels_in", channels_in),
        positive_int("classes", classes),
    )
    blocks = positive_int("blocks", blocks, example=1)
    stem_stride = positive_int("stem_stride", stem_stride, example=1)
    widths = [positive_int("widths", width, example=32) for width in widths]
    stem = nn.Conv2d(channels_in, widths[0], 3, stride=stem_stride, padding=1, bias=False)
    after = nn.BatchNorm2d(widths[0]) if norm else ScalarBias()
    layers: list[nn.Module] = [stem, after, nn.ReLU(inplace=True)]
    kind = ResidualBlock if norm else FixupBlock
    n_in = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(kind(n_in, width, halve=stage > 0 and block == 0))
            n_in = width
    for layer in nn.Sequential(*layers).modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    classifier = nn.Linear(widths[-1], classes)
    if norm:
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
    fixup_([list(layer.body) for layer in layers if isinstance(layer, FixupBlock)], classifier)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), ScalarBias(), classifier)

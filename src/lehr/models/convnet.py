"""The lesson's small convolutional network."""

from collections.abc import Sequence

from torch import nn


def cnn(
    channels_in: int = 1,
    classes: int = 10,
    *,
    widths: Sequence[int] = (8, 16, 32, 32),
    norm: bool = False,
) -> nn.Sequential:
    """Convolutions of stride 2, averaged over what is left of the image, then one linear layer.

    The first kernel is 5 by 5, the others 3 by 3. Images of any size do: each layer halves them,
    rounding up, so 28 pixels become 14, 7, 4, 2, and 8 become 4, 2, 1, 1.

    Args:
        channels_in: channels of an image.
        classes: numbers in a prediction.
        widths: channels after each convolution.
        norm: batch normalisation after each convolution, which then has no bias.

    Returns:
        A model from ``(batch, channels_in, height, width)`` to ``(batch, classes)``.

    Raises:
        ValueError: ``widths`` is empty.

    Example:
        >>> sum(p.numel() for p in cnn().parameters())
        15594

    Reference:
        The network of fast.ai's "Deep learning from the foundations", 2019, lesson 10.
    """
    if not widths:
        raise ValueError("widths must hold at least one width; got none. Give e.g. widths=(8, 16).")
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(zip([channels_in, *widths], widths, strict=False)):
        size = 5 if i == 0 else 3
        layers.append(nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2, bias=not norm))
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)
    )

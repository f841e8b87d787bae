"""Fully connected networks."""

from collections.abc import Callable, Sequence

from torch import nn


def mlp(
    in_features: int,
    classes: int,
    *,
    hidden: Sequence[int] = (50,),
    act: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Linear layers with an activation between them; takes images as they come.

    Args:
        in_features: numbers in an item, e.g. 784 for an image of 28 by 28.
        classes: numbers in a prediction.
        hidden: width of each hidden layer; none makes a linear model.
        act: makes an activation.

    Returns:
        A model from ``(batch, ...)`` to ``(batch, classes)``.

    Example:
        >>> sum(p.numel() for p in mlp(784, 10).parameters())
        39760
    """
    layers: list[nn.Module] = [nn.Flatten()]
    widths = [in_features, *hidden]
    for n_in, n_out in zip(widths, hidden, strict=False):
        layers += [nn.Linear(n_in, n_out), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))

"""Layers that keep running statistics of what passes through them, as BatchNorm does."""

from torch import nn


def with_statistics(model: nn.Module) -> list[nn.Module]:
    """The modules with a running mean, in the model's order.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.InstanceNorm1d(2))
        >>> [type(layer).__name__ for layer in with_statistics(model)]
        ['BatchNorm1d']
    """
    return [part for part in model.modules() if getattr(part, "running_mean", None) is not None]

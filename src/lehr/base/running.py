"""Layers that keep running statistics of what passes through them, as BatchNorm does."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.instancenorm import _InstanceNorm  # pyright: ignore[reportPrivateUsage]


def has_statistics(module: nn.Module) -> bool:
    """Whether a module itself keeps running statistics.

    It does if it has a ``running_mean``, as torch's norms have that track one, or if it says so by
    ``track_running_stats``, as `lehr.models.RunningBatchNorm` does.

    Example:
        >>> has_statistics(nn.BatchNorm1d(2)), has_statistics(nn.InstanceNorm1d(2))
        (True, False)
    """
    tracks = getattr(module, "track_running_stats", False)
    return getattr(module, "running_mean", None) is not None or tracks is True


def with_statistics(model: nn.Module) -> list[nn.Module]:
    """The modules that keep running statistics, in the model's order.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.InstanceNorm1d(2))
        >>> [type(layer).__name__ for layer in with_statistics(model)]
        ['BatchNorm1d']
    """
    return [part for part in model.modules() if has_statistics(part)]


def can_be_measured(module: nn.Module) -> bool:
    """Whether its statistics can be computed anew: it can reset them, and has a ``momentum``.

    Example:
        >>> can_be_measured(nn.BatchNorm1d(2)), can_be_measured(nn.LayerNorm(2))
        (True, False)
    """
    resets = hasattr(module, "reset_running_stats") and hasattr(module, "momentum")
    return has_statistics(module) and resets


def statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """The running statistics of a module, by name: its own buffers.

    Example:
        >>> list(statistics_of(nn.BatchNorm1d(2)))
        ['running_mean', 'running_var', 'num_batches_tracked']
    """
    return dict(module.named_buffers(recurse=False))


def averages_all(module: nn.Module) -> bool:
    """Whether a ``momentum`` of None means the mean over all batches; torch's InstanceNorm keeps
    its statistics then.

    Example:
        >>> averages_all(nn.BatchNorm1d(2)), averages_all(nn.InstanceNorm1d(2))
        (True, False)
    """
    return not isinstance(module, _InstanceNorm)


def couples_items(module: Any) -> bool:
    """Whether what a norm makes of an item depends, in training, on the others of the batch.

    Example:
        >>> couples_items(nn.BatchNorm1d(2, track_running_stats=False))
        True
        >>> couples_items(nn.InstanceNorm1d(2, track_running_stats=True))
        False
    """
    if isinstance(module, _InstanceNorm):
        return False
    return isinstance(module, _BatchNorm) or has_statistics(module)

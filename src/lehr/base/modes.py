"""Training and evaluation mode of the parts of a model."""

from collections.abc import Callable
from functools import partial

from torch import nn


def keep_modes(model: nn.Module) -> Callable[[], None]:
    """A function that gives each sub-module the ``training`` flag it has now.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> back = keep_modes(model)
        >>> _ = model.eval(); back()
        >>> [module.training for module in model]
        [True, False]
    """
    return partial(_set_modes, [(module, module.training) for module in model.modules()])


def switch_dropout_off(model: nn.Module) -> None:
    """Put the dropout of torch in evaluation mode; other modules stay as they are.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
        >>> switch_dropout_off(model)
        >>> [module.training for module in model]
        [False, True]
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # type: ignore[reportPrivateUsage]
            module.eval()


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training

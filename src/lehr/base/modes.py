"""Training and evaluation mode of every part of a model, put back as it was."""

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


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training

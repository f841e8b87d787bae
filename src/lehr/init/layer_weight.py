"""The weight of a layer: a parameter of its own, or a property made of some, as by torch's
parametrizations.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize


class LayerWeight:
    """Reads and writes a layer's ``weight``, however it is stored.

    Args:
        layer: a module for which `has_weight` holds.

    Attributes:
        stored: the parameters that the weight is made of; itself alone where it is one.

    Example:
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
        >>> weight = LayerWeight(layer)
        >>> with torch.no_grad():
        ...     weight.write(torch.ones(3, 2))
        >>> len(weight.stored), layer.weight.sum().item()
        (2, 6.0)
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.stored = _stored(layer)
        self._is_parameter = "weight" in _own(layer)

    @property
    def trainable(self) -> bool:
        """Whether all that it is made of is trained."""
        return all(parameter.requires_grad for parameter in self.stored)

    @property
    def key(self) -> int:
        """The same for layers that share it."""
        return id(self.stored[0])

    @property
    def ndim(self) -> int:
        """Dimensions, as far as they are known: 2 of a lazy weight, which has no shape yet."""
        return max(2 if is_lazy(parameter) else parameter.ndim for parameter in self.stored)

    def read(self) -> Tensor:
        """What it is now."""
        return self.layer.weight

    def write(self, value: Tensor) -> None:
        """Make it ``value``, or as near to it as what makes it allows.

        Raises:
            Exception: what the property raises if it cannot be set.
        """
        if self._is_parameter:
            self.stored[0].copy_(value)
        else:
            self.layer.weight = value

    def fill(self, draw: Callable[[Tensor], object]) -> None:
        """Let ``draw`` write into it, or into a tensor of its shape that it is set to."""
        if self._is_parameter:
            draw(self.stored[0])
        else:
            fresh = torch.empty_like(self.read())
            draw(fresh)
            self.write(fresh)


def has_weight(module: nn.Module) -> bool:
    """Whether the module owns a parameter ``weight``, or makes one of its own parameters.

    Example:
        >>> has_weight(nn.Linear(1, 1)), has_weight(nn.ReLU())
        (True, False)
    """
    return bool(_stored(module))


def _own(module: nn.Module) -> dict[str, nn.Parameter]:
    return dict(module.named_parameters(recurse=False, remove_duplicate=False))


def _stored(module: Any) -> list[nn.Parameter]:
    own = _own(module)
    if "weight" in own:
        return [own["weight"]]
    if parametrize.is_parametrized(module, "weight"):
        return list(module.parametrizations["weight"].parameters())
    made = inspect.getattr_static(module, "weight", None)
    if isinstance(made, property) and made.fset is not None:
        return [parameter for name, parameter in own.items() if name != "bias"]
    return []

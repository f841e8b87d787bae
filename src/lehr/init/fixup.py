"""Deep residual networks that train without normalisation: the start is what keeps them stable."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from lehr.errors import real_number
from lehr.init.fans import fans_of
from lehr.init.scaled import scaled_normal_

Branches = Sequence[Sequence[nn.Module]]
"""The layers of each residual branch, first to last."""


class ScalarBias(nn.Module):
    """Adds one learnt number, 0 at the start; Fixup has one before each layer and activation.

    Example:
        >>> ScalarBias()(torch.ones(2)).tolist()
        [1.0, 1.0]

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization", 2019, section 3, rule 3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` plus the number."""
        return x + self.bias


class ScalarScale(nn.Module):
    """Multiplies by one learnt number, 1 at the start; Fixup ends each branch with one.

    Example:
        >>> ScalarScale()(torch.ones(2)).tolist()
        [1.0, 1.0]

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization", 2019, section 3, rule 3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times the number."""
        return x * self.scale


@torch.no_grad()
def zero_last_(branches: Branches) -> None:
    """Zeroes weight and bias of the last layer of each branch: every block starts as identity.

    With a normalisation as last layer, this is its scale and shift.

    Args:
        branches: the layers of each branch, e.g. ``[block.body for block in blocks]``.

    Raises:
        ValueError: a branch is empty, or its last layer owns no parameter to zero.

    Example:
        >>> branch = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> zero_last_([branch])
        >>> branch(torch.ones(2)).tolist()
        [0.0, 0.0]

    Reference:
        Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1, for the last
        normalisation's scale.
    """
    for index, branch in enumerate(branches):
        if not len(branch):
            todo = "Leave empty branches out."
            raise ValueError(f"branches[{index}] must hold a layer; got none. {todo}")
        own = list(branch[-1].parameters(recurse=False))
        if not own:
            todo = "End the branch with the layer that is to start at zero."
            kind = type(branch[-1]).__name__
            raise ValueError(f"branches[{index}] must end in a layer; got {kind}. {todo}")
        for parameter in own:
            parameter.zero_()


@torch.no_grad()
def fixup_(
    branches: Branches,
    classifier: nn.Module | None = None,
    *,
    gain: float = math.sqrt(2),
    generator: Generator | None = None,
) -> None:
    """Starts a residual network so that one step changes it alike at any depth.

    With L branches, in a branch of m layers ::

        last layer, and the classifier:   0
        the others:                       std = gain / √fan_in · L^(-1 / (2m - 2))

    and all their biases 0; a branch of one layer is only zeroed. Everything outside the branches,
    such as the stem, is left alone: see `initialise`. The third rule is part of the model: a
    `ScalarScale` at the end of each branch, a `ScalarBias` before each layer and activation.

    Args:
        branches: of each residual branch its linear and convolutional layers, first to last; the
            activations may be among them and do not count.
        classifier: the model's last layer, if it is to start at zero as in the paper.
        gain: what makes up for the activation; √2 for ReLU.
        generator: where the draws come from; None is torch's default generator.

    Raises:
        TypeError: ``gain`` is no number; a layer is of unknown kind.
        ValueError: there are no branches; a branch holds no layer; ``gain`` is not finite; the
            classifier owns no parameter to zero.

    Example:
        >>> branches = [[nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 50)] for _ in range(100)]
        >>> fixup_(branches, generator=Generator().manual_seed(0))
        >>> round(branches[0][0].weight.std().item(), 3)  # √(2/50) / √100
        0.02

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization",
        2019, section 3, rules 1 and 2. They scale "a standard method"; here it is Kaiming's.
    """
    gain = real_number("gain", gain)
    if not branches:
        raise ValueError("branches must hold a branch; got none. Give each block's layers.")
    weighted = [[layer for layer in branch if _owns_weight(layer)] for branch in branches]
    zero_last_(weighted)
    if classifier is not None:
        zero_last_([[classifier]])
    for branch in weighted:
        exponent = 1 / (2 * len(branch) - 2) if len(branch) > 1 else 0.0
        for layer in branch[:-1]:
            for name, parameter in layer.named_parameters(recurse=False):
                if name == "weight":
                    shrunk = gain * len(branches) ** -exponent
                    scaled_normal_(parameter, shrunk, fans=fans_of(layer), generator=generator)
                else:
                    parameter.zero_()


def _owns_weight(module: nn.Module) -> bool:
    return any(name == "weight" for name, _ in module.named_parameters(recurse=False))

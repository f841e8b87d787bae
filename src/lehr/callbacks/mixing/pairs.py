"""What MixUp and CutMix have in common: each item has a partner, and a share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lehr.base.nested import map_tensors

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Pairs(NamedTuple):
    """Who is mixed with whom in a batch, and how much of each item is its own."""

    partner: Tensor
    """number of each item's partner, of shape ``(batch,)``"""
    share: float
    """of each item that is its own, from 0 to 1"""


def beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from the Beta distribution with both parameters ``alpha``.

    Example:
        >>> 0 <= beta(0.4, torch.Generator().manual_seed(0)) <= 1
        True
    """
    import numpy as np

    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def compute_loss(run: "Run", proceed: Callable[[], None], pairs: Pairs) -> None:
    """Set the loss to the mean of the losses for the own targets and for those of the partners."""
    own = run.yb
    proceed()
    first = run.loss
    run.yb = partners(own, pairs.partner)
    try:
        proceed()
    finally:
        run.yb = own
    run.loss = pairs.share * first + (1 - pairs.share) * run.loss


def partners(value: Any, partner: Tensor) -> Any:
    """The items of a batch in the order of the partners, however the batch is nested."""
    return map_tensors(lambda tensor: tensor[partner.to(tensor.device)], value)

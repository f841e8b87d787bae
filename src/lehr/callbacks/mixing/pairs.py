"""What MixUp and CutMix have in common: each item has a partner, and a share."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lehr.base.call_with import call_with
from lehr.base.graph_part import GraphPart
from lehr.base.nested import map_tensors
from lehr.base.sending import sent
from lehr.loop.loss_parts import Parts
from lehr.loop.losses import wanted_by
from lehr.types import is_mapping

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Pairs(NamedTuple):
    """Who is mixed with whom in a batch, and how much of each item is its own."""

    partner: Tensor
    """number of each item's partner, of shape ``(batch,)``"""
    share: float | Tensor
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


def compute_loss(run: "Run", proceed: Callable[[], None], pairs: Pairs | None) -> None:
    """Set the loss to the mean of the losses for the own targets and for those of the partners.

    Args:
        run: the run.
        proceed: computes a loss.
        pairs: who was mixed with whom; None if nobody was.

    Raises:
        TypeError: the loss function is not given the targets.
    """
    if pairs is None:
        proceed()
        return
    _check_target(run)
    proceed()
    first, parts = run.loss, run.loss_parts
    call_with(run, proceed, yb=partners(run.yb, pairs.partner))
    run.loss = _mean(first, run.loss, pairs.share)
    if parts is not None and run.loss_parts is not None:
        run.loss_parts = _means(parts, run.loss_parts, pairs.share)


def loss_part(run: "Run", pairs: Pairs) -> GraphPart:
    """What `compute_loss` does, for the graph of a fused step.

    Raises:
        TypeError: the loss function is not given the targets.
    """
    _check_target(run)
    return GraphPart(_of_both, {"partner": pairs.partner}, {"share": pairs.share})


def _of_both(
    loss: Callable[[Any, Any], Any],
    pred: Any,
    target: Any,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Tensor],
) -> Any:
    own = loss(pred, target)
    other = loss(pred, partners(target, tensors["partner"]))
    mean = _means if is_mapping(own) else _mean
    return mean(own, other, numbers["share"])


def _check_target(run: "Run") -> None:
    if run.yb is None or not wanted_by(run.loss_func).target:
        why = "the batch has no target" if run.yb is None else "it gets the output alone"
        raise TypeError(
            "mixed items have two targets each, so the loss must be a function of prediction and "
            f"target; {why}. Leave MixUp and CutMix out, or give a loss_func(pred, yb)."
        )


def _mean(own: Any, partner: Any, share: float | Tensor) -> Any:
    return share * own + (1 - share) * partner


def _means(own: Parts, partner: Parts, share: float | Tensor) -> Parts:
    return {
        name: _mean(part, partner[name], share) if name in partner else part
        for name, part in own.items()
    }


def partners(value: Any, partner: Tensor) -> Any:
    """The items of a batch in the order of the partners, however the batch is nested.

    Raises:
        TypeError: there is a packed sequence in it.
    """

    def take(items: Any) -> Any:
        refuse_packed(items)
        return items[sent(partner, items.device)]

    return map_tensors(take, value, also=is_packed)


def is_packed(value: Any) -> bool:
    """Whether it is a packed sequence, which has no dimension that counts items."""
    return isinstance(value, PackedSequence)


def refuse_packed(value: Any) -> None:
    """Refuse a packed sequence.

    Raises:
        TypeError: it is one.

    Example:
        >>> refuse_packed(torch.zeros(2, 3))
    """
    if is_packed(value):
        raise TypeError(
            "the items of a PackedSequence cannot be mixed: their steps lie between one another, "
            "and partners differ in length. Let the batch hold padded tensors and pack them in the "
            "model, or leave MixUp and CutMix out."
        )

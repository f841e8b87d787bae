"""Mixes the items of a batch with each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lehr.base.call_with import call_with
from lehr.base.graph_part import GraphPart
from lehr.base.nested import item_count, map_tensors
from lehr.base.sending import sent
from lehr.callback import Callback
from lehr.callbacks.mixing.pairs import (
    Pairs,
    beta,
    compute_loss,
    is_packed,
    loss_part,
    partners,
    refuse_packed,
)
from lehr.errors import above_zero
from lehr.events import Layer

if TYPE_CHECKING:
    from lehr.loop.run import Run


class MixUp(Callback):
    r"""Trains on weighted means of two items, with the weighted mean of their two losses.

    .. math:: x = λ x_i + (1 - λ) x_j, \quad L = λ L(\hat y, y_i) + (1 - λ) L(\hat y, y_j)

    One λ is drawn for each batch from Beta(α, α). Any loss will do, and targets of any form, as
    long as their first dimension counts items. In the input all tensors of real numbers are mixed;
    others, such as the numbers of words, stay as they are. Validation is left alone.

    Args:
        alpha: α, above 0: with a small one λ is near 0 or 1, with 1 all λ are as likely.

    Raises:
        TypeError, ValueError: ``alpha`` cannot be used; in training, if a batch has no targets, or
            a packed sequence in it.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[MixUp(0.4)])
        >>> run.n_steps
        4

    Reference:
        Zhang et al. 2018, arXiv:1710.09412, equation 1; the loss is taken for each of the two
        targets, which is the same for cross-entropy.
    """

    layer = Layer.TRANSFORM
    state = ()
    by_length = False
    in_graph = ("predict", "compute_loss")

    def __init__(self, alpha: float = 0.4) -> None:
        self.alpha = above_zero("alpha", alpha)

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Predict from mixed items."""
        self._pairs = self._drawn(run) if run.training else None
        if self._pairs is None:
            proceed()
        else:
            call_with(run, proceed, xb=mixed(run.xb, self._pairs))

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss for both targets."""
        compute_loss(run, proceed, self._pairs)

    def graph_part(self, method: str, run: "Run") -> GraphPart:
        """The same, for the graph of a fused step."""
        if method == "compute_loss":
            assert self._pairs is not None
            return loss_part(run, self._pairs)
        self._pairs = self._drawn(run)
        partner, share = self._pairs
        return GraphPart(_from_mixed, {"partner": partner}, {"share": share})

    def _drawn(self, run: "Run") -> Pairs:
        stream = run.stream(self.name)
        return Pairs(torch.randperm(item_count(run.xb), generator=stream), beta(self.alpha, stream))

    def __repr__(self) -> str:
        return f"MixUp({self.alpha})"


def _from_mixed(
    predict: Callable[[Any, Any], Any],
    args: Sequence[Any],
    named: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Tensor],
) -> Any:
    pairs = Pairs(tensors["partner"], numbers["share"])
    return predict([mixed(value, pairs) for value in args], mixed(named, pairs))


def mixed(value: object, pairs: Pairs) -> object:
    """The weighted means of the items of a batch and of their partners.

    Raises:
        TypeError: there is a packed sequence in it.
    """

    def mix(tensor: Tensor) -> Tensor:
        refuse_packed(tensor)
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        share = pairs.share
        if isinstance(share, Tensor):
            share = sent(share, tensor.device, tensor.dtype)
        return torch.lerp(partners(tensor, pairs.partner), tensor, share)

    return map_tensors(mix, value, also=is_packed)

"""Spreads a share of each target over all classes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional as F

from lehr.base.call_with import call_with
from lehr.base.graph_part import GraphPart
from lehr.base.nested import describe
from lehr.callback import Callback
from lehr.errors import share
from lehr.events import Layer

if TYPE_CHECKING:
    from lehr.loop.run import Run


class LabelSmoothing(Callback):
    r"""Trains on targets that are not quite sure: :math:`y_k = (1 - ε)\,[k = y] + ε / K`.

    The class numbers become probabilities over the K classes, so the loss function must take those,
    as ``torch.nn.functional.cross_entropy`` does. It may have weights of its own for classes, and
    anything else. Validation is left alone: its loss is that of the targets as they are.

    Args:
        eps: ε, from 0 to 1; can be scheduled as ``"callbacks.label_smoothing.eps"``.

    Raises:
        TypeError, ValueError: ``eps`` cannot be used; in training, if the targets are no class
            numbers for predictions of shape ``(batch, classes, …)``.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> plain, smooth = tiny_learner(), tiny_learner([LabelSmoothing(0.1)])
        >>> plain.fit(1).history["loss"][0] == smooth.fit(1).history["loss"][0]
        False

    Reference:
        Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """

    layer = Layer.TRANSFORM
    state = ()
    by_length = False
    in_graph = ("compute_loss",)

    def __init__(self, eps: float = 0.1) -> None:
        self.eps = share("eps", eps, example=0.1)

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss of smoothed targets."""
        if not run.training:
            proceed()
            return
        call_with(run, proceed, yb=smoothed(run.pred, run.yb, self.eps))

    def graph_part(self, method: str, run: "Run") -> GraphPart:
        """The same, for the graph of a fused step."""
        return GraphPart(_of_smoothed, numbers={"eps": self.eps})

    def __repr__(self) -> str:
        return f"LabelSmoothing({self.eps})"


def _of_smoothed(
    loss: Callable[[Any, Any], Any],
    pred: Any,
    target: Any,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Tensor],
) -> Any:
    return loss(pred, smoothed(pred, target, numbers["eps"]))


def smoothed(pred: Any, target: Any, eps: float | Tensor) -> Tensor:
    """Probabilities of the classes, in the shape and dtype of ``pred``.

    Args:
        pred: of shape ``(batch, classes, …)``.
        target: class numbers of shape ``(batch, …)``, or probabilities in the shape of ``pred``.
        eps: the share that is spread, from 0 to 1.

    Example:
        >>> import torch
        >>> smoothed(torch.zeros(1, 4), torch.tensor([2]), 0.2)
        tensor([[0.0500, 0.0500, 0.8500, 0.0500]])
    """
    if not (isinstance(pred, Tensor) and isinstance(target, Tensor) and pred.ndim > 1):
        raise TypeError(_unfit(pred, target))
    if not target.is_floating_point():
        if target.shape != (len(pred), *pred.shape[2:]):
            raise ValueError(_unfit(pred, target))
        target = _one_hot(target, pred.shape[1]).movedim(-1, 1)
    elif target.shape != pred.shape:
        raise ValueError(_unfit(pred, target))
    return target.to(pred.dtype) * (1 - eps) + eps / pred.shape[1]


def _one_hot(target: Tensor, classes: int) -> Tensor:
    try:
        return F.one_hot(target, classes)
    except RuntimeError as error:
        raise ValueError(
            f"the targets must be class numbers from 0 to {classes - 1}; torch says: {error} Where "
            "some do not count, smooth in the loss: "
            "torch.nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=-100)."
        ) from error


def _unfit(pred: Any, target: Any) -> str:
    return (
        "LabelSmoothing needs predictions of shape (batch, classes, …) and class numbers of shape "
        f"(batch, …); got {describe(pred)} and {describe(target)}. Leave it out, or smooth in the "
        "loss function."
    )

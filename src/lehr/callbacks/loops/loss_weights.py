"""Weighs the parts of a loss."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lehr.callback import Callback
from lehr.errors import did_you_mean, real_number
from lehr.events import Layer
from lehr.types import is_mapping

if TYPE_CHECKING:
    from lehr.loop.run import Run


class LossWeights(Callback):
    r"""Trains on the weighted sum of the named parts of a loss: :math:`L = \sum_k w_k L_k`.

    The loss function returns its parts by name, one for each head of the model, say. They are
    recorded as they are, and the sum with its weights; in validation as well. A part whose weight
    is 0 has no share in the gradient, even if it is nan.

    Args:
        weights: a number for each part; it can be scheduled as
            ``"callbacks.loss_weights.weights.<part>"``. For weights that are
            learnt, see the page "Loops of another shape".

    Raises:
        TypeError: a weight is no number; or, in a batch, the loss has no parts.
        ValueError: there is no weight; or, in a batch, one lacks for a part, or all are 0.

    Example:
        >>> from torch.nn import functional as F
        >>> from lehr.testing import tiny_learner
        >>> def both(pred, yb):
        ...     return {"fit": F.cross_entropy(pred, yb), "size": pred.square().mean()}
        >>> learn = tiny_learner([LossWeights({"fit": 1.0, "size": 0.5})], loss_func=both)
        >>> history = learn.fit(1).history
        >>> loss, fit, size = (history[name][0] for name in ("loss", "fit", "size"))
        >>> abs(loss - (fit + 0.5 * size)) < 1e-6
        True
    """

    layer = Layer.TRANSFORM
    state = ()
    by_length = False

    def __init__(self, weights: Mapping[str, float]) -> None:
        if not is_mapping(weights) or not weights:
            raise ValueError(
                f"weights must be a dict with a number for each part of the loss; got {weights!r}. "
                'Write e.g. {"kind": 1.0, "size": 0.1}.'
            )
        self.weights = {name: real_number(f"weights[{name!r}]", w) for name, w in weights.items()}

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Sum the parts anew."""
        proceed()
        parts = run.loss_parts
        if parts is None:
            raise TypeError(
                "LossWeights weighs the parts of a loss, but loss_func returned one number. Let it "
                'return a dict of its parts by name, e.g. {"kind": a, "size": b}.'
            )
        for name in parts:
            if name not in self.weights:
                raise ValueError(
                    f"the loss has a part {name!r}, for which LossWeights has no weight. "
                    f"{did_you_mean(name, self.weights)} Give a weight for each part; 1.0 leaves "
                    "it as it is."
                )
        counted = [self.weights[name] * part for name, part in parts.items() if self.weights[name]]
        if not counted:
            raise ValueError(
                f"every weight of LossWeights is 0 ({', '.join(parts)}), so there is nothing to "
                "train on. Give one part a weight, or look at the schedule that drives it."
            )
        run.loss = sum(counted[1:], counted[0])

    def __repr__(self) -> str:
        return f"LossWeights({self.weights})"

"""Gathers what the model predicts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lehr.base.nested import join, map_tensors
from lehr.callback import Callback
from lehr.events import Layer, Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Predictions(Callback):
    """Keeps the predictions of the last validation pass on the CPU; `Learner.predict` is made of
    it.

    Args:
        instead_of_loss: leave the loss out, so that no targets are needed.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> gather = Predictions()
        >>> _ = tiny_learner().fit(1, callbacks=[gather])
        >>> gather.joined().shape
        torch.Size([16, 2])
    """

    phase = Phase.REPORT
    replays = False
    layer = Layer.CAPTURE
    state = ()

    def __init__(self, *, instead_of_loss: bool = False) -> None:
        self.instead_of_loss = instead_of_loss
        self._batches: list[Any] = []

    def begin_validate(self, run: "Run") -> None:
        """Forget the pass before."""
        self._batches = []

    def after_pred(self, run: "Run") -> None:
        """Keep a copy on the CPU."""
        if not run.training:
            self._batches.append(map_tensors(_copied, run.pred))

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss only where it is wanted."""
        if run.training or not self.instead_of_loss:
            proceed()

    def joined(self) -> Any:
        """All predictions, batch after batch: ``(items, ...)`` in the model's own nesting.

        Raises:
            ValueError: there are none.
        """
        if not self._batches:
            raise ValueError(
                "there are no predictions: the pass was cut short before its first, or has not "
                "taken place."
            )
        return join(self._batches)


def _copied(pred: Tensor) -> Tensor:
    # Also on the CPU: the model may write its next output there, or have returned a part of more.
    return pred.detach().to("cpu", copy=True)

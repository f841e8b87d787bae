"""The update window: the training batches between two optimizer steps."""

from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from lehr import streams

if TYPE_CHECKING:
    from lehr.runstate import RunState

_FIELDS = ("batch", "xb", "yb", "weight", "pred", "loss")


@final
class Window:
    """What the open window has gathered: the gradient of the one big batch that its batches make.

    `share` is loss × weight; `finish` divides by the total. A window of one batch passes its
    mean loss through untouched, so it costs nothing and equals the plain loop bit for bit.

    Args:
        keeps: whether batches are kept for `replay`.
        loss_is_mean: whether the loss function returns a mean over the batch's items or their sum.
    """

    __slots__ = ("_kept", "batches", "keeps", "loss_is_mean", "weight")

    def __init__(self, *, keeps: bool, loss_is_mean: bool) -> None:
        self.keeps, self.loss_is_mean = keeps, loss_is_mean
        self.batches, self.weight = 0, 0.0
        self._kept: list[tuple[Any, ...]] = []

    def clear(self) -> None:
        """Forget everything gathered."""
        self.batches = 0
        self.weight = 0.0
        self._kept.clear()

    def keep(self, run: "RunState") -> None:
        """Remember this batch, and the random numbers its prediction is about to draw."""
        self._kept.append((run.batch, run.xb, run.yb, run.weight, streams.default_state()))

    def share(self, run: "RunState") -> Tensor:
        """What this batch adds to the loss of the window, before `finish` divides it."""
        if self.batches > 1 or not run.closes:
            return run.loss * run.weight if self.loss_is_mean else run.loss
        return run.loss if self.loss_is_mean else run.loss / run.weight

    def finish(self, run: "RunState") -> None:
        """Divide the gradients by the window's total weight."""
        with torch.no_grad():
            for p in run.trained_parameters():
                if p.grad is not None:
                    p.grad.div_(self.weight)

    def replay(self, run: "RunState", predict: Any, compute_loss: Any, backward: Any) -> Tensor:
        """Run the kept batches through the actions again; returns the window's mean loss, detached.

        Raises:
            RuntimeError: no batch was kept.
        """
        if not self._kept:
            raise RuntimeError(
                "run.regrad() has no batches to replay. Set regrads = True on the callback that "
                "calls it, and call it while an update window is open, e.g. in the step action."
            )
        before = [getattr(run, name) for name in _FIELDS]
        total = torch.zeros((), dtype=torch.float64)
        with streams.forked(), torch.enable_grad():
            for run.batch, run.xb, run.yb, run.weight, random_state in self._kept:
                streams.set_default_state(random_state)
                predict()
                compute_loss()
                if run.weight:
                    backward()
                    share = run.loss.detach() * (run.weight if self.loss_is_mean else 1)
                    total = total.to(share) + share
        for name, value in zip(_FIELDS, before, strict=True):
            setattr(run, name, value)
        return total / self.weight

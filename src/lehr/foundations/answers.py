"""Adds objects that the loop asks at nine events; they answer True to go on, False to object."""

from collections.abc import Callable
from typing import Any


class Callback:
    """Agrees to everything. An event that is defined anew must answer True or False, too.

    False skips what follows: `begin_fit` the training, `begin_epoch` the epoch, `begin_validate`
    the validation, `begin_batch` and `after_loss` the batch, `after_backward` step and clearing
    (so gradients add up), `after_step` the clearing, `after_epoch` all further epochs; `after_fit`
    is called in any case. Setting ``learn.stop = True`` ends the fit after the batch.
    """

    def begin_fit(self, learn: Any) -> bool:
        """Keep the Learner."""
        self.learn = learn
        return True

    def begin_epoch(self, epoch: int) -> bool:
        """Keep the number of the epoch."""
        self.epoch = epoch
        return True

    def begin_batch(self, xb: Any, yb: Any) -> bool:
        """Keep the batch, of either pass."""
        self.xb, self.yb = xb, yb
        return True

    def after_loss(self, loss: Any) -> bool:
        """Keep the loss, of either pass."""
        self.loss = loss
        return True

    def _agree(self) -> bool:
        return True

    after_backward = after_step = begin_validate = after_epoch = after_fit = _agree


class TestCallback(Callback):
    """Reports each optimizer step's number, and stops the fit after ``n`` of them."""

    def __init__(self, n: int = 10, report: Callable[[int], object] = print) -> None:
        self.n, self.report, self.n_iters = n, report, 0

    def begin_fit(self, learn: Any) -> bool:
        """Count anew."""
        self.n_iters = 0
        return super().begin_fit(learn)

    def after_step(self) -> bool:
        """Count the step."""
        self.n_iters += 1
        self.report(self.n_iters)
        self.learn.stop |= self.n_iters >= self.n
        return True

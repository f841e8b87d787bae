"""Adds nine events to the loop: callbacks answer True to go on, False to object."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


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


class CallbackHandler:
    """Asks every callback, also after an objection; all must agree."""

    def __init__(self, cbs: Iterable[Callback] = ()) -> None:
        self.cbs, self.in_train = list(cbs), False
        self.learn: Any = None  # a `fit.Learner`

    def ask(self, event: str, *args: Any) -> bool:
        """Whether all agree; TypeError if a callback forgot to answer."""
        answers = [getattr(cb, event)(*args) for cb in self.cbs]
        if None in answers:
            name = type(self.cbs[answers.index(None)]).__name__
            raise TypeError(f"{name}.{event} must answer True or False; got None. Add a return.")
        return all(answers)


def one_batch(xb: Any, yb: Any, cb: CallbackHandler) -> None:
    """The five steps, each as far as the callbacks agree; only the first two in validation."""
    learn = cb.learn
    if cb.ask("begin_batch", xb, yb):
        loss = learn.loss_func(learn.model(xb), yb)
        if cb.ask("after_loss", loss) and cb.in_train:
            loss.backward()
            if cb.ask("after_backward"):
                learn.opt.step()
                if cb.ask("after_step"):
                    learn.opt.zero_grad()


def all_batches(dl: Iterable[Any], cb: CallbackHandler) -> None:
    """One pass, or what a stop leaves of it."""
    for xb, yb in dl:
        if cb.learn.stop:
            return
        one_batch(xb, yb, cb)


def fit(epochs: int, learn: Any, cb: CallbackHandler) -> None:
    """Train and validate, as far as the callbacks agree."""
    cb.learn, learn.stop = learn, False
    try:
        if not cb.ask("begin_fit", learn):
            return
        for epoch in range(epochs):
            cb.in_train = True
            learn.model.train()
            if learn.stop or not cb.ask("begin_epoch", epoch):
                continue
            all_batches(learn.data.train_dl, cb)
            cb.in_train = False
            learn.model.eval()
            if not learn.stop and cb.ask("begin_validate"):
                with torch.no_grad():
                    all_batches(learn.data.valid_dl, cb)
            if learn.stop or not cb.ask("after_epoch"):
                break
    finally:
        cb.ask("after_fit")


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

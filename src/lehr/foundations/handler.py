"""Adds the nine events to the loop, and one object that asks every callback at each of them."""

from collections.abc import Iterable
from typing import Any

import torch

from lehr.foundations.answers import Callback, TestCallback

__all__ = ["Callback", "CallbackHandler", "TestCallback", "all_batches", "fit", "one_batch"]


class CallbackHandler:
    """Asks every callback, also after an objection; all must agree. None is no callbacks.

    An event may do something of its own first: it keeps the Learner, or sets the model's mode.
    """

    def __init__(self, cbs: Iterable[Callback] | None = None) -> None:
        self.cbs, self.in_train = list(cbs or []), False
        self.learn: Any = None  # a `fit.Learner`

    def ask(self, event: str, *args: Any) -> bool:
        """Whether all agree; TypeError if a callback forgot to answer."""
        answers = [getattr(cb, event)(*args) for cb in self.cbs]
        if None in answers:
            name = type(self.cbs[answers.index(None)]).__name__
            raise TypeError(f"{name}.{event} must answer True or False; got None. Add a return.")
        return all(answers)

    def begin_fit(self, learn: Any) -> bool:
        """Keep the Learner; nobody has asked to stop."""
        self.learn, self.in_train, learn.stop = learn, True, False
        return self.ask("begin_fit", learn)

    def begin_epoch(self, epoch: int) -> bool:
        """Train."""
        self.learn.model.train()
        self.in_train = True
        return self.ask("begin_epoch", epoch)

    def begin_batch(self, xb: Any, yb: Any) -> bool:
        """In either pass."""
        return self.ask("begin_batch", xb, yb)

    def after_loss(self, loss: Any) -> bool:
        """In either pass; after it, a batch of validation is over."""
        return self.ask("after_loss", loss) and self.in_train

    def after_backward(self) -> bool:
        """May the optimizer step?"""
        return self.ask("after_backward")

    def after_step(self) -> bool:
        """May the gradients be cleared?"""
        return self.ask("after_step")

    def begin_validate(self) -> bool:
        """Evaluate; not after a stop."""
        self.learn.model.eval()
        self.in_train = False
        return not self.do_stop() and self.ask("begin_validate")

    def after_epoch(self) -> bool:
        """May another one begin?"""
        return self.ask("after_epoch")

    def after_fit(self) -> bool:
        """However it ended."""
        return self.ask("after_fit")

    def do_stop(self) -> bool:
        """Whether somebody has asked to stop; it stays so until the next fit begins."""
        return self.learn.stop


def one_batch(xb: Any, yb: Any, cb: CallbackHandler) -> None:
    """The five steps, each as far as the callbacks agree; only the first two in validation."""
    if not cb.begin_batch(xb, yb):
        return
    loss = cb.learn.loss_func(cb.learn.model(xb), yb)
    if not cb.after_loss(loss):
        return
    loss.backward()
    if cb.after_backward():
        cb.learn.opt.step()
        if cb.after_step():
            cb.learn.opt.zero_grad()


def all_batches(dl: Iterable[Any], cb: CallbackHandler) -> None:
    """One pass, or what a stop leaves of it."""
    for xb, yb in dl:
        if cb.do_stop():
            return
        one_batch(xb, yb, cb)


def fit(epochs: int, learn: Any, cb: CallbackHandler) -> None:
    """Train and validate, as far as the callbacks agree."""
    try:
        if not cb.begin_fit(learn):
            return
        for epoch in range(epochs):
            if cb.do_stop() or not cb.begin_epoch(epoch):
                continue
            all_batches(learn.data.train_dl, cb)
            if cb.begin_validate():
                with torch.no_grad():
                    all_batches(learn.data.valid_dl, cb)
            if cb.do_stop() or not cb.after_epoch():
                break
    finally:
        cb.after_fit()

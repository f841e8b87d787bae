"""Adds one dispatcher for all events and one object that owns all state: the Runner."""

from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any

import torch

from lehr.foundations.callback import (
    AvgStats,
    AvgStatsCallback,
    Callback,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    TrainEvalCallback,
    camel2snake,
    listify,
)

__all__ = ["AvgStats", "AvgStatsCallback", "Callback", "CancelBatch", "CancelEpoch", "CancelFit"]
__all__ += ["Runner", "TestCallback", "TrainEvalCallback", "camel2snake", "listify"]

EVENTS = {
    *("begin_fit", "begin_epoch", "begin_batch", "after_pred", "after_loss", "after_backward"),
    *("after_step", "after_batch", "begin_validate", "after_epoch", "after_fit"),
}


class Runner:
    """Trains a Learner with callbacks, and with what the functions ``cb_funcs`` make.

    The first callback of each `Callback.name` is an attribute of that name. A true answer skips the
    rest of the batch in `begin_batch`, `after_pred`, `after_loss`, `after_backward` (the gradients
    stay: accumulation) and `after_step`; the training pass in `begin_epoch`, the validation in
    `begin_validate`, further epochs in `after_epoch`, all but `after_fit` in `begin_fit`.
    """

    def __init__(self, cbs: Any = None, cb_funcs: Any = None) -> None:
        self.in_train, self.xb, self.yb, self.pred, self.loss = False, None, None, None, None
        made: list[Callback] = [make() for make in listify(cb_funcs)]
        self.cbs: list[Callback] = [TrainEvalCallback(), *listify(cbs), *made]
        for cb in self.cbs:
            if not hasattr(self, cb.name):
                setattr(self, cb.name, cb)

    def __call__(self, event: str) -> bool:
        """Whether any callback's answer is true; all are called, in order."""
        listeners = [cb for cb in self.cbs if hasattr(type(cb), event)]
        if not listeners and event not in EVENTS:
            raise ValueError(f"event must be the loop's or a callback's; got {event!r}. Misspelt?")
        answers = [getattr(cb, event)() for cb in listeners]
        return any(answers)

    def one_batch(self, xb: Any, yb: Any) -> None:
        """The five steps, as far as no callback skips; the first two in validation."""
        self.xb, self.yb, self.pred, self.loss = xb, yb, None, None
        if self("begin_batch"):
            return
        self.pred = self.model(self.xb)
        if self("after_pred"):
            return
        self.loss = self.loss_func(self.pred, self.yb)
        if self("after_loss") or not self.in_train:
            return
        self.loss.backward()
        if self("after_backward"):
            return
        self.opt.step()
        if not self("after_step"):
            self.opt.zero_grad()

    def all_batches(self, dl: Any) -> None:
        """One pass."""
        self.iters = len(dl)
        for self.batch, (xb, yb) in enumerate(dl):
            with suppress(CancelBatch):
                self.one_batch(xb, yb)
            self("after_batch")

    def fit(self, epochs: int, learn: Any) -> None:
        """Train and validate. `after_fit` is called however that ends; an error goes on."""
        self.epochs, self.learn = epochs, learn
        self.model, self.opt, self.loss_func = learn.model, learn.opt, learn.loss_func
        self.cbs.sort(key=attrgetter("_order"))
        for cb in self.cbs:
            cb.run = self
        try:
            with suppress(CancelFit):
                for self.epoch in range(0 if self("begin_fit") else epochs):
                    with suppress(CancelEpoch):
                        if not self("begin_epoch"):
                            self.all_batches(learn.data.train_dl)
                        if not self("begin_validate"):
                            with torch.no_grad():
                                self.all_batches(learn.data.valid_dl)
                    if self("after_epoch"):
                        break
        finally:
            self("after_fit")


class TestCallback(Callback):
    """Reports the number of every training batch, and ends the fit after ``n`` of them."""

    _order = 1  # the batch has been counted

    def __init__(self, n: int = 10, report: Callable[[int], object] = print) -> None:
        self.n, self.report = n, report

    def after_batch(self) -> None:
        """Report, and perhaps end."""
        if self.in_train:
            self.report(self.n_iter)
        if self.n_iter >= self.n:
            raise CancelFit

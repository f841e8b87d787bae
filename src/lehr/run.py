"""The loop: read `Run.fit`, `Run._pass` and `Run._one_batch`, in this order.

``on`` holds the listeners of each event, ``do`` the actions as callbacks wrapped them.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer

from lehr import optimizers, streams
from lehr.data.feed import Feed
from lehr.dispatch import Listener, fire
from lehr.events import CancelBatch, CancelEpoch, CancelFit
from lehr.hints import warn_of_broadcast
from lehr.rests import GoBack
from lehr.runstate import RunState
from lehr.scopes import keep_modes
from lehr.types import is_mapping, is_sequence


@final
class Run(RunState):
    """One training of a Learner, born in `Learner.fit`; its fields are described in `RunState`."""

    __slots__ = ()

    def fit(self) -> None:
        """Train for the planned epochs or steps, validating as planned."""
        with self._opened() as on:
            self._zero_grad()
            fire(on.begin_fit, self)
            for self.epoch in self._epochs():
                steps = self.n_steps
                try:
                    with self._scopes.open():
                        try:
                            self._epoch_start = self.n_iter
                            fire(on.begin_epoch, self)
                            if not self._arrive("trained"):
                                with self._scopes.open():
                                    self.defer(self._abandon_window)
                                    if not self.model.training:
                                        self.model.train()
                                    self._pass(self._plan.train, on.begin_train, on.after_train)
                                self._rest("trained", self.epoch)
                            if self._plan.validates_after(self.epoch, self.n_steps):
                                self._validate()
                        except CancelEpoch:
                            self._require_loaded()
                            self.training, self._in_batch = True, False
                        with suppress(CancelEpoch):  # it is over anyway
                            fire(on.after_epoch, self)
                    self._rest("epoch", self.epoch + 1)
                    self._heed_stop()
                except GoBack:
                    continue
                if self._plan.is_over(self.n_steps, self.n_steps - steps):
                    break

    def _epochs(self) -> Iterator[int]:
        epoch = 0
        if not self._entry:
            self._rest("epoch", epoch)
        while True:
            epoch = self._entry.epoch if self._entry else epoch
            if self._arrive("epoch"):
                self._heed_stop()
            if self.n_steps == self.steps or (self.epochs is not None and epoch >= self.epochs):
                return
            yield epoch
            epoch += 1

    def validate(self) -> None:
        """One pass over each validation loader."""
        with self._opened() as on:
            fire(on.begin_fit, self)
            self._validate()

    def _validate(self) -> None:
        on, before = self._on, (self.batch_index, self.num_batches)
        key = self._streams.key("valid", self._plan.first_epoch + self.epoch)
        for self.valid_name, feed in self._plan.valid.items():
            with self._scopes.open(), torch.no_grad(), streams.forked(key):
                self.defer(keep_modes(self.model))
                self.model.eval()
                self.training = False
                self._pass(feed, on.begin_validate, on.after_validate)
        self.training = True
        self.batch_index, self.num_batches = before

    def _pass(self, feed: Feed, begin: Sequence[Listener], after: Sequence[Listener]) -> None:
        on, do, undos, training = self._on, self._do, self._scopes.undos, self.training
        epoch = self._plan.first_epoch + self.epoch
        rekey = streams.rekeying(self._streams.key("batch", epoch))
        self.num_batches = feed.len_or_none
        fire(begin, self)
        arrived = self._arrive("batch", "validated") if training else None
        start = self.batch_index + 1 if arrived else 0
        over = self._settle(arrived) if arrived else self._heed_stop()
        batches = feed.epoch(self.seed, epoch, start)
        for self.batch_index in () if over else count(start):
            self.batch = None
            if training:  # what is drawn from here on is a function of (seed, epoch, batch)
                rekey(self.batch_index)
            if (item := next(batches, None)) is None:
                break
            self.batch, self._last = item
            self.pred = self.loss = self.weight = None
            self.stepped, self.closes, self._in_batch = False, True, True
            mark, window, steps = len(undos), self.window.batches, self.n_steps
            if not window:
                self._window_start = steps
            try:
                self.xb, self.yb = self._plan.split_batch(self.batch)
                try:
                    do.one_batch()
                    if self.stepped and self.n_steps == steps:  # somebody replaced the whole batch
                        self.n_steps += 1
                        fire(on.after_step, self)
                except CancelBatch:
                    if self.window.batches != window:  # backward had begun
                        self._drop_window()
                self.n_iter += training
                if on.after_batch:
                    try:
                        fire(on.after_batch, self)
                    except CancelBatch:
                        self._drop_window()
            finally:
                if len(undos) > mark:
                    self._scopes.unwind(mark)
            self._in_batch = False
            if not self.window.batches and self._settle():
                break
        if self.window.batches:
            self._flush_window()
        fire(after, self)

    def _settle(self, arrived: str | None = None) -> bool:
        """What is done between batches whose window is closed; whether the pass ends here."""
        if self.training:
            between = self._plan.steps_between_validations
            if self._visitors and arrived is None:
                self._rest("batch", self.epoch)
            due = between and self.stepped and arrived != "validated"
            if due and self.n_steps % between == 0:
                self._validate()
                self._rest("validated", self.epoch)
        if self.stop_reason is not None or self.interrupted is not None:
            self._heed_stop()
        return self.training and self.n_steps == self.steps

    def _one_batch(self) -> None:
        on, do, window = self._on, self._do, self.window
        if on.begin_batch:
            fire(on.begin_batch, self)
        if self.weight is None:
            self.weight = self._plan.weight(self)
        if window.keeps and self.training:
            window.mark(self)
        do.predict()
        if on.after_pred:
            fire(on.after_pred, self)
        do.compute_loss()
        if on.after_loss:
            fire(on.after_loss, self)
        if not self.training:
            return
        self.closes = self.closes or self._last
        if not self.n_iter:
            warn_of_broadcast(self.pred, self.yb)
        window.add(self)
        if self.weight:  # without weight nothing is contributed, never nan * 0
            do.backward()
        if on.after_backward:
            fire(on.after_backward, self)
        if self.closes:
            self._close_window()

    def _close_window(self) -> None:
        window, do = self.window, self._do
        if window.weight:
            window.finish(self)
            do.finish_grad()
            do.step()
            if self.stepped:
                self.n_steps += 1
                if self._on.after_step:
                    fire(self._on.after_step, self)
        do.zero_grad()
        window.clear()

    def _flush_window(self) -> None:
        self.batch_index -= 1  # whose batch should have closed the window, and was cancelled
        self._in_batch = True
        with suppress(CancelBatch):
            self._close_window()
        self._drop_window()
        self._in_batch = False

    def _drop_window(self) -> None:
        if self.window.batches:
            self._do.zero_grad()
            self.window.clear()

    def _abandon_window(self) -> None:
        if self.window.batches:  # the pass ended in the middle of one
            self.window.clear()
            self._zero_grad()

    def _heed_stop(self) -> None:
        reason = self.stop_reason or self.interrupted
        if reason is not None and not self.window.batches:
            raise CancelFit(reason)

    # The verbs: what an action does where nobody wraps it ----------------------------------------

    def _predict(self) -> None:
        xb = self.xb
        if isinstance(xb, Tensor):
            self.pred = self.model(xb)
        elif is_mapping(xb):
            self.pred = self.model(**xb)
        else:
            self.pred = self.model(*xb) if is_sequence(xb) else self.model(xb)

    def _compute_loss(self) -> None:
        if self.yb is None:
            self.loss = self.loss_func(self.pred)
        else:
            self.loss = self.loss_func(self.pred, self.yb)

    def _backward(self) -> None:
        window = self.window  # the usual case takes one call less
        usual = window.loss_is_mean and self.closes and window.batches == 1 and not window.sums
        (self.loss if usual else window.share(self)).backward()

    def _finish_grad(self) -> None:
        """The gradient is the window's mean already; callbacks unscale, transform and clip it."""

    def _step(self) -> None:
        _ = self.opt.step() if isinstance(self.opt, Optimizer) else optimizers.step(self.opt)
        self.stepped = True

    def _zero_grad(self) -> None:
        optimizers.clear_gradients(self.opt)

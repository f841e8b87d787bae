"""The loop.

Read `Run.fit`, `Run._pass` and `Run._one_batch`, in this order: that is all of it. ``on`` holds the
listeners of each event, ``do`` the actions as callbacks have wrapped them (`lehr.dispatch`).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer

from lehr import optimizers, streams
from lehr.data.feed import Feed
from lehr.dispatch import Actions, Listener, Listeners, annotate, around, fire, misplaced
from lehr.events import ACTIONS, Cancel, CancelBatch, CancelEpoch, CancelFit
from lehr.hints import warn_of_broadcast
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
            for self.epoch in count() if self.epochs is None else range(self.epochs):
                steps = self.n_steps
                with self._scopes.open():
                    try:
                        self._epoch_start = self.n_iter
                        fire(on.begin_epoch, self)
                        with self._scopes.open():
                            self.defer(self._abandon_window)
                            if not self.model.training:
                                self.model.train()
                            self._pass(self._plan.train, on.begin_train, on.after_train)
                        if self._plan.validates_after(self.epoch, self.n_steps):
                            self._validate()
                    except CancelEpoch:
                        self.training, self._in_batch = True, False
                    with suppress(CancelEpoch):  # it is over anyway
                        fire(on.after_epoch, self)
                self._heed_stop()
                if self._plan.is_over(self.n_steps, self.n_steps - steps):
                    break

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
        between = self._plan.steps_between_validations
        self.num_batches = feed.len_or_none
        fire(begin, self)
        self._heed_stop()
        batches = feed.epoch(self.seed, epoch)
        for self.batch_index in count():
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
            if not self.window.batches:
                if between and self.stepped and self.n_steps % between == 0:
                    self._validate()
                if self.stop_reason is not None:
                    self._heed_stop()
                if training and self.n_steps == self.steps:
                    break
        if self.window.batches:
            self._flush_window()
        fire(after, self)

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
        if self.stop_reason is not None and not self.window.batches:
            raise CancelFit(self.stop_reason)

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

    # From begin_fit to after_fit, whatever happens -----------------------------------------------

    @contextmanager
    def _opened(self) -> Generator[Listeners]:
        on = self._on = Listeners(self.callbacks)
        self._do = Actions(self.callbacks, self, {a: getattr(self, f"_{a}") for a in ACTIONS})
        try:
            with self._scopes.open():
                self.defer(keep_modes(self.model))
                self.defer(partial(streams.set_default_state, streams.default_state()))
                with around(self.callbacks, self):
                    try:
                        yield on
                    except CancelFit as cancel:
                        self.training, self._in_batch = True, False
                        self.stop(cancel.reason or "cancelled")
                    fire(on.after_fit, self)
        except Cancel as cancel:
            raise misplaced(cancel, self) from cancel
        except Exception as error:
            annotate(error, self)
            raise
        finally:
            # The tables hold bound methods: nothing may keep a Learner alive.
            del self._on, self._do
        self.batch = self.xb = self.yb = self.pred = self.loss = None  # frees the last graph

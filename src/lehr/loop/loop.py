"""The loop: read `Loop.fit`, `Loop.one_pass` and `Loop.one_batch`, in this order.

``on`` holds the listeners of each event, ``do`` the actions as callbacks wrapped them. What an
action does where no callback wraps it is in `lehr.loop.step`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import final

from lehr.data.loading.feed import Feed
from lehr.errors import item_weight
from lehr.events import CancelBatch, CancelEpoch, CancelFit
from lehr.loop.dispatch import Actions, Listener, Listeners, fire
from lehr.loop.hints import warn_of_broadcast
from lehr.loop.rests import GoBack
from lehr.loop.run import Run
from lehr.loop.run_scopes import evaluating, opened, scoped, training, until_cancelled
from lehr.optim import optimizers
from lehr.state import streams


@final
class Loop:
    """Lets a run train, or validate, from `begin_fit` to `after_fit`."""

    __slots__ = ("do", "on", "plan", "run", "validates_by_steps", "weigh")
    on: Listeners
    do: Actions

    def __init__(self, run: Run) -> None:
        self.run, self.plan = run, run.plan
        self.validates_by_steps = run.plan.validate_every.unit == "steps"
        self.weigh = run.plan.weigher()

    def fit(self) -> None:
        """Train for the planned epochs or steps, validating as planned."""
        run = self.run
        with opened(self) as on, scoped(run), until_cancelled(run, CancelFit):
            optimizers.clear_gradients(run.opt)
            fire(on.begin_fit, run)
            for epoch in self._epochs():
                with suppress(GoBack), run.scopes.open("epoch"):
                    with until_cancelled(run, CancelEpoch):
                        run.epoch, run.epoch_start, run.epoch_steps = epoch, run.n_iter, run.n_steps
                        fire(on.begin_epoch, run)
                        if not run.rests.arrive(run, "trained"):
                            self._train()
                        if self.plan.validates_after(epoch, run.n_steps, run.validated_at):
                            self._validate()
                    with suppress(CancelEpoch):  # it is over anyway
                        fire(on.after_epoch, run)

    def _epochs(self) -> Iterator[int]:
        """The numbers of the epochs, as long as the run is not over; it may be entered in any.

        The run rests before each of them, and after the last.
        """
        run, rests, epoch = self.run, self.run.rests, 0
        if rests.entry is None:
            with suppress(GoBack):
                rests.visit(run, "epoch", epoch)
        while True:
            if rests.entry is not None:  # the run is resumed, or has gone back
                epoch = rests.entry.epoch
            if rests.arrive(run, "epoch"):
                self._heed_stop()
            if self.plan.is_over(epoch, run.n_steps):
                return
            yield epoch
            if rests.entry is None:
                epoch += 1
                with suppress(GoBack):
                    rests.visit(run, "epoch", epoch)
                    self._heed_stop()
                    self.plan.check_epoch(run)

    def validate(self) -> None:
        """One pass over each validation loader."""
        with opened(self) as on, scoped(self.run), until_cancelled(self.run, CancelFit):
            fire(on.begin_fit, self.run)
            self._validate()

    def _train(self) -> None:
        run, on = self.run, self.on
        with training(run):
            self.one_pass(run.sources.open(run), on.begin_train, on.after_train)
        run.rests.visit(run, "trained", run.epoch)

    def _validate(self) -> None:
        run, on = self.run, self.on
        key = run.streams.key("valid", self.plan.first_epoch + run.epoch, *run.engine.key)
        for name, feed in run.sources.at(run.epoch).valid.items():
            run.valid_name = name
            with evaluating(run, key):
                self.one_pass(feed, on.begin_validate, on.after_validate)
        run.training, run.validated_at = True, run.n_steps

    def one_pass(self, feed: Feed, begin: Sequence[Listener], after: Sequence[Listener]) -> None:
        """Batch after batch of a loader, with the events around them."""
        run, on, do, window = self.run, self.on, self.do, self.run.window
        training, epoch = run.training, self.plan.first_epoch + run.epoch
        rekey = streams.rekeying(run.streams.key("batch", epoch, *run.engine.key))
        run.num_batches = feed.len_or_none
        fire(begin, run)
        arrived = run.rests.arrive(run, "batch", "validated") if training else None
        if arrived:
            over = self._settle(arrived)
        else:
            run.batch_index, over = -1, False  # no batch yet
            self._heed_stop()
        index = run.batch_index
        batches = feed.epoch(run.seed, epoch, start=index + 1)
        while not over:
            index += 1
            run.batch = None
            if training:  # what is drawn from here on is a function of (seed, epoch, batch)
                rekey(index)
            if (item := next(batches, None)) is None:
                break
            run.batch, run.last_batch = item
            run.batch_index = index
            run.pred = run.loss = run.loss_parts = run.weight = None
            run.stepped, run.closes, run.in_batch = False, True, True
            mark, gathered, steps = len(run.scopes.undos), window.batches, run.n_steps
            if not gathered:
                run.window_start = steps
            try:
                run.xb, run.yb = self.plan.split_batch(run.batch)
                try:
                    do.one_batch()
                    # After this, of a callback that replaced the whole batch:
                    if run.weight is None and run.loss is not None:
                        run.weight = self.weigh(run)
                    if run.stepped and run.n_steps == steps:
                        run.n_steps += 1
                        fire(on.after_step, run)
                except CancelBatch:
                    if window.batches != gathered:  # backward had begun
                        self._drop_window()
                run.n_iter += training
                if on.after_batch:
                    try:
                        fire(on.after_batch, run)
                    except CancelBatch:
                        self._drop_window()
            finally:
                if len(run.scopes.undos) > mark:
                    run.scopes.unwind(mark)
            run.in_batch = False
            over = not window.batches and self._settle()
        if window.batches:  # the last batch, which should have closed it, was cancelled
            run.in_batch = True
            with suppress(CancelBatch):
                self._close_window()
            self._drop_window()
            run.in_batch = False
        fire(after, run)

    def one_batch(self) -> None:
        """Everything between reading a batch and `after_batch`: what the action does by itself."""
        run, on, do, window = self.run, self.on, self.do, self.run.window
        if on.begin_batch:
            fire(on.begin_batch, run)
        run.weight = weight = self.weigh(run) if run.weight is None else item_weight(run.weight)
        if window.marks and run.training:
            window.mark(run)
        do.predict()
        if on.after_pred:
            fire(on.after_pred, run)
        do.compute_loss()
        if on.after_loss:
            fire(on.after_loss, run)
        if run.weight is not weight:  # a callback has changed it
            run.weight = item_weight(run.weight)
        if not run.training:
            return
        run.closes = run.closes or run.last_batch
        if not run.n_iter:
            warn_of_broadcast(run.pred, run.yb)
        window.add(run)
        if run.weight or window.shared:  # without weight it contributes nothing, never nan * 0
            do.backward()
        if on.after_backward:
            fire(on.after_backward, run)
        if run.closes:
            self._close_window()

    # The update window: the batches between two optimizer steps ----------------------------------

    def _close_window(self) -> None:
        run, do, window = self.run, self.do, self.run.window
        if window.shared:
            run.engine.settle(run)
        if window.weight:
            window.finish(run)
            do.finish_grad()
            do.step()
            if run.stepped:
                run.n_steps += 1
                if self.on.after_step:
                    fire(self.on.after_step, run)
        do.zero_grad()
        window.clear()

    def _drop_window(self) -> None:
        """Forget the window that is open, if one is, and its gradient."""
        if self.run.window.batches:
            with suppress(CancelBatch):  # it is cancelled anyway
                self.do.zero_grad()
            self.run.window.clear()

    # Between batches -----------------------------------------------------------------------------

    def _settle(self, arrived: str | None = None) -> bool:
        """What is done between batches whose window is closed; whether the pass ends here."""
        run = self.run
        if run.training:
            if run.rests.visitors and arrived is None:
                run.rests.visit(run, "batch", run.epoch)
            if self.validates_by_steps and run.stepped and arrived != "validated":
                self._validate_at_step()
        if run.stop_reason or run.interrupted:
            self._heed_stop()
        return run.training and run.n_steps == self.plan.steps

    def _validate_at_step(self) -> None:
        run = self.run
        if self.plan.validates_at(run.n_steps):
            self._heed_stop()
            self._validate()
            run.rests.visit(run, "validated", run.epoch)

    def _heed_stop(self) -> None:
        reason = self.run.stop_reason or self.run.interrupted
        if reason is not None and not self.run.window.batches:
            raise CancelFit(reason)

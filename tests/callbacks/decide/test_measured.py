"""What a validation measured is what is kept, whatever a callback swaps in for it."""

import pytest
import torch

from lehr import Callback
from lehr.callbacks import Checkpoint, EarlyStopping
from lehr.callbacks.decide.measured import Measured, weights_of
from lehr.events import Phase
from lehr.record.monitor import Monitor
from lehr.state.differences import first_difference
from lehr.testing import tiny_learner


class Average(Callback):
    """Validates with the mean of all weights so far, and trains with its own."""

    state = ("mean", "count")

    def begin_fit(self, run):
        self.mean, self.count = [p.detach().clone() for p in run.model.parameters()], 1

    def after_step(self, run):
        self.count += 1
        for mean, p in zip(self.mean, run.model.parameters(), strict=True):
            mean.lerp_(p.detach(), 1 / self.count)

    def begin_validate(self, run):
        own = [p.detach().clone() for p in run.model.parameters()]
        run.defer(lambda: self._write(run, own))
        self._write(run, self.mean)

    @torch.no_grad()
    def _write(self, run, values):
        for p, value in zip(run.model.parameters(), values, strict=True):
            p.copy_(value)


class Worse(Callback):
    """Lets the second half of a fit go wrong."""

    state = ()

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and run.epoch >= 2:
            run.loss = -run.loss


def lowest(run):
    """The lowest loss of a validation, and its step; an epoch may have ended without one."""
    rows = zip(run.history["valid_loss"], run.history["step"], strict=True)
    return min(row for row in rows if row[0] is not None)


intervals = pytest.mark.parametrize("every", [None, "3 steps"])


@intervals
@pytest.mark.parametrize("phase", list(Phase))
def test_the_best_that_is_restored_is_what_was_measured(phase, every):
    average = type("Mine", (Average,), {"phase": phase})()
    stopping = EarlyStopping(patience=99, restore_best=True)
    learn = tiny_learner()
    run = learn.fit(4, [average, Worse(), stopping], validate_every=every)
    assert stopping.best == lowest(run)[0] < run.history["valid_loss"][-1]
    assert learn.validate()["valid_loss"] == stopping.best


@intervals
def test_the_best_checkpoint_has_the_weights_that_were_measured(tmp_path, every):
    def fit(learn, **kwargs):
        saver = Checkpoint(tmp_path, every="99 epochs", keep=99, monitor="valid_loss")
        return learn.fit(4, [Average(), Worse(), saver], validate_every=every, **kwargs)

    learn, other, resumed = tiny_learner(), tiny_learner(), tiny_learner()
    run = fit(learn)
    value, at = lowest(run)
    best = tmp_path / f"step-{at:08d}"
    other.load(best)
    assert other.validate()["valid_loss"] == value
    fit(resumed, resume=best)
    assert first_difference(weights_of(learn.run), weights_of(resumed.run)) is None
    assert resumed.run.history["loss"] == run.history["loss"]


def test_a_run_goes_back_to_the_weights_that_trained(tmp_path):
    class Once(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps == 7 and not run.rewinds:
                run.rewind(2)

    def fit(*more):
        saver = Checkpoint(tmp_path / str(len(more)), every="99 epochs", monitor="valid_loss")
        return tiny_learner().fit(2, [Average(), saver, *more])

    assert fit(Once()).history["loss"] == fit().history["loss"]


def test_a_value_that_no_validation_measured_has_the_weights_of_the_training():
    class Swap(Average):
        def after_epoch(self, run):
            run.history.log_row("score", float(run.epoch))

    for monitor in ("train_loss", "score"):
        stopping = EarlyStopping(monitor, mode="min", patience=99, restore_best=True)
        seen = []

        class Keep(Callback):
            state = ()

            def after_epoch(self, run):
                seen.append(weights_of(run))  # noqa: B023

        learn = tiny_learner()
        learn.fit(3, [Swap(), stopping, Keep()])
        best = stopping.best_epoch
        assert first_difference(seen[best], weights_of(learn.run)) is None


def test_they_are_handed_over_once_and_only_if_they_are_better():
    measured, run = Measured(Monitor("valid_loss")), tiny_learner().fit(1)
    run.history.open_row(valid_loss=None)
    measured.begin(run)
    run.history.log_row("valid_loss", 0.5)
    measured.end(run, best=0.4)
    assert measured.take() is None
    measured.end(run, best=0.6)
    assert first_difference(measured.take(), weights_of(run)) is None
    assert measured.take() is None
    measured.begin(run)  # it was known before this validation
    measured.end(run, best=0.6)
    assert measured.take() is None

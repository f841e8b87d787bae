"""When a run validates, and when it is over."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from lehr import Callback
from lehr.base.intervals import every
from lehr.base.nested import split_pair
from lehr.data.loading.feed import Feed
from lehr.loop.plan import Plan, steps_in
from lehr.testing import tiny_learner


def plan(validate_every="1 epoch", *, valid=True, **length):
    feeds = {"": Feed([1])} if valid else {}
    return Plan(
        data=None,
        seed=0,
        train=Feed([1, 2, 3]),
        valid=feeds,
        validate_every=every(validate_every),
        split_batch=split_pair,
        weight=len,
        **length,
    )


def moments(plan, steps_per_epoch):
    """(epoch, step) of every validation, as the loop asks for them."""
    found, epoch, n_steps, at = [], 0, 0, -1
    while not plan.is_over(epoch, n_steps):
        begun = n_steps
        for _ in range(steps_per_epoch):
            n_steps += 1
            if plan.validates_at(n_steps):
                found.append((epoch, n_steps))
                at = n_steps
            if n_steps == plan.steps:
                break
        if plan.validates_after(epoch, n_steps, at):
            found.append((epoch, n_steps))
        plan.check_steps(after(n_steps, n_steps - begun))
        epoch += 1
    return found


@pytest.mark.parametrize(
    ("interval", "length", "expected"),
    [
        ("1 epoch", {"epochs": 3}, [(0, 4), (1, 8), (2, 12)]),
        ("2 epochs", {"epochs": 4}, [(1, 8), (3, 16)]),
        ("2 epochs", {"epochs": 3}, [(1, 8), (2, 12)]),
        ("9 epochs", {"epochs": 2}, [(1, 8)]),
        ("3 steps", {"epochs": 2}, [(0, 3), (1, 6), (1, 8)]),
        ("4 steps", {"epochs": 2}, [(0, 4), (1, 8)]),
        ("99 steps", {"epochs": 1}, [(0, 4)]),
        ("1 step", {"epochs": 1}, [(0, 1), (0, 2), (0, 3), (0, 4)]),
        ("1 epoch", {"steps": 6}, [(0, 4), (1, 6)]),
        ("1 epoch", {"steps": 8}, [(0, 4), (1, 8)]),
        ("2 epochs", {"steps": 6}, [(1, 6)]),
        ("5 steps", {"steps": 6}, [(1, 5), (1, 6)]),
        ("3 steps", {"steps": 6}, [(0, 3), (1, 6)]),
    ],
)
def test_a_run_validates_as_asked_and_once_at_its_end(interval, length, expected):
    assert moments(plan(interval, **length), 4) == expected


def test_an_interval_in_steps_says_nothing_about_epochs():
    assert plan("2 steps", epochs=9).validates_after(1, 7) is False  # some steps were skipped
    assert plan("2 epochs", epochs=9).validates_after(1, 7) is True


@pytest.mark.parametrize("interval", ["1 epoch", "1 step"])
def test_without_a_validation_loader_nothing_is_validated(interval):
    assert moments(plan(interval, epochs=2, valid=False), 4) == []
    assert moments(plan(interval, epochs=2), 4) != []


def test_a_run_of_epochs_is_never_over_by_its_steps():
    assert plan(epochs=1).is_over(0, 10**9) is False
    assert plan(epochs=1).is_over(1, 0) is True


@pytest.mark.parametrize(("n_steps", "over"), [(1, False), (5, False), (6, True), (7, True)])
def test_a_run_of_steps_is_over_when_it_has_made_them(n_steps, over):
    assert plan(steps=6).is_over(0, n_steps) is over


def after(n_steps, steps=0, batches=3, *, last_batch=True):
    counters = {"n_steps": n_steps, "epoch_steps": n_steps - steps, "last_batch": last_batch}
    return SimpleNamespace(**counters, n_iter=10 + batches, epoch_start=10, epoch=4)


@pytest.mark.parametrize("batches", [3, 0])
def test_an_epoch_without_a_step_would_never_end(batches):
    match = (
        r"^a whole epoch passed without one optimizer step, so fit\(steps=6\) would never end\. "
        r"Look for what skips every step: weights that are all 0, or a callback that cancels every "
        r"batch or step, or give epochs instead\.$"
    )
    with pytest.raises(RuntimeError, match=match):
        plan(steps=6).check_steps(after(5, batches=batches))
    plan(steps=6).check_steps(after(5, steps=1, batches=batches))
    plan(steps=6).check_steps(after(6, batches=batches))  # stopped just there


def test_an_epoch_of_batches_without_a_step_is_told_of():
    match = (
        r"^epoch 4 passed without one optimizer step: nothing was learnt\. Look for what skips "
        r"every step: weights that are all 0, or a callback that cancels every batch or step\.$"
    )
    with pytest.warns(UserWarning, match=match):
        plan(epochs=6).check_steps(after(0))
    plan(epochs=6).check_steps(after(5))  # others did
    plan(epochs=6).check_steps(after(0, batches=0))  # an epoch that was left out
    plan(epochs=6).check_steps(after(0, last_batch=False))  # or cut short


def test_a_plan_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan(epochs=1).epochs = 2


def test_a_run_that_makes_no_step_still_validates_at_its_end():
    planned = plan("4 steps", epochs=2, steps_per_epoch=4)
    assert [step for step in range(1, 9) if planned.validates_at(step)] == [4, 8]
    assert planned.validates_after(1, 0)


class Grows(Callback):
    """Adds items to the training data after the epoch ``when``."""

    def __init__(self, when, n):
        self.when, self.n = when, n

    def after_epoch(self, run):
        if run.epoch == self.when:
            ds = run.data.train_ds
            ds.x, ds.y = torch.randn(self.n, 3), torch.zeros(self.n, dtype=torch.int64)


@pytest.mark.parametrize("n", [60, 9])
def test_data_that_grow_or_shrink_between_two_epochs_are_used_and_told_of(n):
    match = (
        rf"^train_dl had 4 batches when the fit began, and has {-(-n // 8)} after epoch 0: the "
        r"next epoch has all of them, but schedules go by the steps that were planned\. If the "
        r"data are to grow or shrink, fit an epoch at a time, or give fit\(steps=…\)\.$"
    )
    with pytest.warns(UserWarning, match=match):
        run = tiny_learner([Grows(0, n)]).fit(3)
    assert run.n_iter == 4 + 2 * -(-n // 8)
    assert run.n_epochs == 3


def test_data_that_grow_after_the_last_epoch_or_between_two_fits_are_nothing_to_tell_of():
    learn = tiny_learner([Grows(0, 60)])
    assert learn.fit(1).n_iter == 4
    assert learn.fit(2).n_iter == 16
    assert tiny_learner([Grows(0, 60)]).fit(steps=12).n_iter == 12


def test_how_many_steps_an_epoch_has_is_not_known_where_the_sizes_are_driven():
    size = SimpleNamespace(batches_per_step=1, drives=("data.train_dl.batch_size",), name="size")
    rate = SimpleNamespace(batches_per_step=1, drives=("lr", "data.valid_dl.batch_size"), name="lr")
    four = SimpleNamespace(batches_per_step=4, drives=(), name="four")
    of_four = SimpleNamespace(batches_per_step=1, drives=("callbacks.four.n",), name="driver")
    assert steps_in(10, [rate, four]) == 3
    assert steps_in(10, [rate, size]) is steps_in(10, [four, of_four]) is None
    assert steps_in(10, [of_four]) == 10  # it says nothing of a step

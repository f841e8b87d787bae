"""The arithmetic of the update window, away from the loop."""

import pytest
import torch

from lehr import Callback, DataBunch
from lehr.callbacks import Accumulate
from lehr.loop.window import Window
from lehr.testing import tiny_learner


class FakeRun:
    batch = xb = yb = pred = None
    counts_a_step_a_batch = False

    def __init__(self, params, loss_is_mean=True):
        self.params, self.closes, self.loss_is_mean = params, True, loss_is_mean

    @property
    def mean_loss(self):
        return self.loss if self.loss_is_mean else self.loss / self.weight

    def trained_parameters(self):
        return self.params


def gradient(window, parts, closes=True):
    """The gradient of sum(w * x_i) / items, gathered part by part."""
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    run = FakeRun([w], window.loss_is_mean)
    for i, part in enumerate(parts):
        run.closes = closes and i == len(parts) - 1
        run.weight = len(part)
        total = (w * part).sum()
        run.loss = total / len(part) if window.loss_is_mean else total
        window.add(run)
        window.share(run).backward()
    window.finish(run)
    return w.grad.item()


@pytest.mark.parametrize("loss_is_mean", [True, False])
def test_parts_of_unequal_size_give_the_gradient_of_the_whole(loss_is_mean):
    whole = torch.arange(10, dtype=torch.float64)
    for parts in ([whole], whole.split(5), whole.split(3), [whole[:1], whole[1:]]):
        window = Window(keeps=False, loss_is_mean=loss_is_mean)
        assert gradient(window, parts) == pytest.approx(4.5, abs=1e-12)
        window.clear()  # the batch that should have closed it never came
        assert gradient(window, parts, closes=False) == pytest.approx(4.5, abs=1e-12)


def test_replaying_without_batches_is_an_error():
    window = Window(keeps=True, loss_is_mean=True)
    with pytest.raises(RuntimeError, match=r"has no batches to replay. Set regrads = True"):
        window.regrad(None)


def test_clear_forgets():
    window = Window(keeps=True, loss_is_mean=True)
    window.batches, window.weight = 3, 12.0
    window.clear()
    assert (window.batches, window.weight) == (0, 0.0)


class Pairs(Callback):
    def begin_batch(self, run):
        run.closes = run.window.batches == 1


def test_a_window_that_stays_open_must_be_declared_where_the_length_in_steps_was_planned():
    match = (
        r"run\.closes was set to False, so that batches share a step, but the run was planned for "
        r"8 steps, one a batch: schedules would end half-way\. Declare it on the callback that "
        r"sets it: batches_per_step = 4, say, or None if that cannot be known beforehand\."
    )
    with pytest.raises(RuntimeError, match=match):
        tiny_learner([Pairs()]).fit(2)


@pytest.mark.parametrize("declared", [2, None])
def test_a_window_that_stays_open_may_be_declared(declared):
    class Declared(Pairs):
        batches_per_step = declared

    assert tiny_learner([Declared()]).fit(2).n_steps == 4


def test_a_window_may_stay_open_where_no_step_was_counted_on():
    class Says(Pairs):
        def begin_fit(self, run):
            run.steps_per_epoch = 2

    loader = list(tiny_learner().data.train_dl)
    assert tiny_learner([Pairs()]).fit(steps=3).n_steps == 3
    assert tiny_learner([Pairs()]).fit(2, steps_per_epoch=2).n_steps == 4
    assert tiny_learner([Says()]).fit(2).n_steps == 4
    assert tiny_learner([Pairs()], data=DataBunch(lambda: iter(loader))).fit(2).n_steps == 4


def test_a_weight_that_changes_when_its_batch_is_counted_is_an_error():
    class WeighsLate(Callback):
        def backward(self, run, proceed):
            run.weight = run.weight * 2
            proceed()

    learn = tiny_learner([WeighsLate(), Accumulate(2)])
    with pytest.raises(RuntimeError, match=r"run.weight was 8 when .* has made it 16 since"):
        learn.fit(1)

"""Targets that are not quite sure."""

import pytest
import torch
from torch.nn import functional as F

from lehr import Callback
from lehr.callbacks import LabelSmoothing, MixUp, ParamScheduler
from lehr.callbacks.mixing.label_smoothing import smoothed
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


class Losses(Callback):
    state = ()

    def __init__(self):
        self.seen = []

    def after_loss(self, run):
        if run.training:
            self.seen.append((run.loss.item(), run.pred.detach(), run.yb))


def test_the_loss_is_torchs_own_with_label_smoothing():
    losses = Losses()
    tiny_learner([LabelSmoothing(0.3), losses]).fit(1)
    for loss, pred, y in losses.seen:
        expected = F.cross_entropy(pred, y, label_smoothing=0.3).item()
        assert loss == pytest.approx(expected, abs=1e-6)
        assert loss != F.cross_entropy(pred, y).item()


def test_validation_is_left_alone():
    learn = tiny_learner([LabelSmoothing(0.3)])
    assert learn.validate() == tiny_learner(model=learn.model).validate()


def test_with_mix_up_both_targets_are_smoothed():
    class Spy(MixUp):
        def compute_loss(self, run, proceed):
            super().compute_loss(run, proceed)
            if run.training:
                self.seen = (self._pairs, run.loss.item(), run.pred.detach(), run.yb)

    spy = Spy(1.0)
    tiny_learner([LabelSmoothing(0.3), spy]).fit(1)
    (partner, share), loss, pred, y = spy.seen
    own, others = (F.cross_entropy(pred, t, label_smoothing=0.3) for t in (y, y[partner]))
    assert loss == pytest.approx((share * own + (1 - share) * others).item(), abs=1e-6)
    assert loss != pytest.approx(own.item(), abs=1e-5)


def test_it_can_be_scheduled():
    smooth = LabelSmoothing(0.3)
    schedule = ParamScheduler("callbacks.label_smoothing.eps", sched_lin(0.4, 0.0))
    run = tiny_learner([smooth, schedule]).fit(1)
    assert len(run.history["callbacks.label_smoothing.eps"]) == 4
    assert smooth.eps == 0.3


def test_every_position_of_a_picture_is_smoothed():
    pred, target = torch.zeros(2, 3, 4, 5), torch.ones(2, 4, 5, dtype=torch.long)
    found = smoothed(pred, target, 0.3)
    assert found.shape == pred.shape
    torch.testing.assert_close(found[:, 1], torch.full((2, 4, 5), 0.8))
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 5))


@pytest.mark.parametrize(
    ("pred", "target", "error"),
    [
        (torch.zeros(2, 3), torch.zeros(4, dtype=torch.long), ValueError),
        (torch.zeros(2, 3), torch.zeros(2, 4), ValueError),
        ((torch.zeros(2, 3),), torch.zeros(2), TypeError),
        (torch.zeros(2), torch.zeros(2), TypeError),
    ],
)
def test_what_cannot_be_smoothed(pred, target, error):
    with pytest.raises(error, match=r"LabelSmoothing needs predictions of shape \(batch, classes"):
        smoothed(pred, target, 0.1)


def test_a_share_that_cannot_be_used():
    with pytest.raises(ValueError, match="eps must be from 0 to 1; got 1"):
        LabelSmoothing(1.5)


def test_its_repr_says_how_it_was_made():
    assert repr(LabelSmoothing()) == "LabelSmoothing(0.1)"


def test_targets_that_are_no_classes_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"class numbers from 0 to 2; torch says: .*ignore_index"):
        smoothed(torch.zeros(2, 3), torch.tensor([0, -100]), 0.1)

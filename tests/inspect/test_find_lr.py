import math
import signal
from contextlib import suppress
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import ParamScheduler
from lehr.inspect.find_lr import LRCurve, suggest
from lehr.schedules import sched_exp, sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

RATES = [10 ** (i / 20 - 6) for i in range(140)]


def learner(**kwargs):
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return tiny_learner(**{"model": model, "opt": opt, "seed": None, **kwargs})


def test_the_rates_rise_by_the_same_factor_through_the_whole_range():
    curve = tiny_learner().find_lr(1e-4, 1e-1, steps=30)
    assert curve.lrs == [sched_exp(1e-4, 1e-1)(k / 30) for k in range(30)]
    assert len(curve.losses) == 30


def test_the_losses_are_those_of_a_training_by_hand():
    learn = tiny_learner()
    curve = learn.find_lr(1e-3, 1.0, steps=10)
    model, opt = learn.model, learn.opt
    batches = [b for epoch in range(3) for b in learn.data.train_dl.batches(learn.seed, epoch)]
    losses = []
    for k, (xb, yb) in enumerate(batches[:10]):
        opt.param_groups[0]["lr"] = sched_exp(1e-3, 1.0)(k / 10)
        loss = nn.functional.cross_entropy(model(xb), yb)
        loss.backward()
        opt.step()
        opt.zero_grad()
        losses.append(loss.item())
    assert curve.losses == losses


class Raise(Callback):
    evaluates = True
    left = 17

    def begin_batch(self, run):
        self.left -= 1
        if self.left == 0:
            raise self.error

    def __init__(self, error):
        self.error = error


@pytest.mark.parametrize("error", [None, ZeroDivisionError(), KeyboardInterrupt()])
def test_it_leaves_no_trace_also_when_it_breaks(error):
    torch.manual_seed(3)
    learn = learner(callbacks=[Raise(error)] if error else [])
    run = learn.fit(1)
    before = capture(learn.state_entries())
    hyper = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    with suppress(ZeroDivisionError, KeyboardInterrupt):
        learn.find_lr(steps=30)
        assert error is None
    assert first_difference(before, capture(learn.state_entries())) is None
    assert hyper == [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    assert learn.run is run


def test_ctrl_c_ends_it_and_is_passed_on():
    class Press(Callback):
        evaluates = True

        def begin_batch(self, run):
            if run.n_steps == 5:
                signal.raise_signal(signal.SIGINT)

    learn = learner(callbacks=[Press()])
    before = capture(learn.state_entries())
    with pytest.raises(KeyboardInterrupt):
        learn.find_lr(steps=30)
    assert first_difference(before, capture(learn.state_entries())) is None


def test_a_later_fit_is_what_it_would_have_been():
    with_it, without = learner(), learner()
    without.model.load_state_dict(with_it.model.state_dict())
    torch.manual_seed(5)
    with_it.find_lr()
    first = with_it.fit(2).history["loss"]
    torch.manual_seed(5)
    assert first == without.fit(2).history["loss"]


def test_the_sweep_stops_where_the_loss_leaves():
    curve = tiny_learner(opt=partial(torch.optim.SGD, lr=0.1)).find_lr(1e-3, 1e12, steps=200)
    assert len(curve.losses) < 200
    assert all(math.isfinite(loss) for loss in curve.losses)


def test_groups_keep_their_proportions():
    seen = []

    class Look(Callback):
        evaluates = True

        def after_pred(self, run):
            seen.append([group["lr"] for group in run.opt.param_groups])

    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[1].parameters()}]
    opt = torch.optim.SGD(groups, lr=0.1)
    learn = tiny_learner([Look()], model=model, opt=opt)
    curve = learn.find_lr(1e-3, 1e-1, steps=10)
    assert [high for _, high in seen] == curve.lrs
    assert [high / low for low, high in seen] == pytest.approx([10] * 10)


def test_several_optimizers_rise_together():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    opts = {
        "low": torch.optim.SGD(model[0].parameters(), lr=0.01),
        "high": torch.optim.SGD(model[1].parameters(), lr=0.1),
    }
    curve = tiny_learner(model=model, opt=opts).find_lr(1e-3, 1e-1, steps=10)
    assert len(curve.lrs) == 10
    assert (opts["low"].param_groups[0]["lr"], opts["high"].param_groups[0]["lr"]) == (0.01, 0.1)


def test_schedules_of_the_learner_stay_out_and_other_preparing_callbacks_take_part():
    class Zero(Callback):
        evaluates = True

        def begin_batch(self, run):
            batches.append(run.batch_index)

    batches, zero = [], Zero()
    learn = tiny_learner([ParamScheduler("lr", sched_lin(1, 0)), zero])
    assert learn.find_lr(1e-3, 1e-1, steps=10).lrs[0] == 1e-3
    assert len(batches) == 10


def test_the_suggestion_is_where_most_of_the_fall_is_made():
    falling = [2.3 - 2 / (1 + (1e-3 / lr) ** 2) + (lr / 3) ** 4 for lr in RATES]
    suggestion = suggest(RATES, falling)
    assert 2e-3 < suggestion < 2e-2
    assert suggestion in RATES


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [1.0] * 140,
        [1 + i / 140 for i in range(140)],
        [1 + 0.3 * math.sin(7 * i * i) for i in range(140)],
    ],
    ids=["none", "flat", "rising", "noise"],
)
def test_there_is_no_suggestion_where_the_loss_does_not_fall(losses):
    assert suggest(RATES[: len(losses)], losses) is None


def test_the_plot_is_a_figure_that_shows_the_suggestion():
    curve = LRCurve([0.1, 1.0, 10.0], [2.0, 1.0, 9.0], 1.0)
    (ax,) = curve.plot().axes
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "lr", "loss")
    assert ax.get_title() == "suggestion: 1"
    assert len(ax.lines) == 3
    own = plt.subplots()[1]
    assert LRCurve([0.1, 1.0], [2.0, 1.0], None).plot(own) is own.figure
    assert len(own.lines) == 2
    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 0.0}, r"start and end must be learning rates with 0 < start < end; got 0.0"),
        ({"start": 1.0, "end": 0.1}, r"got 1.0 and 0.1. Give e.g. start=1e-6, end=10"),
        ({"end": math.inf}, r"end must be finite"),
        ({"steps": 3}, r"steps must be at least 10; got 3"),
    ],
)
def test_bad_arguments_speak_and_change_nothing(arguments, message):
    learn = tiny_learner()
    before = capture(learn.state_entries())
    with pytest.raises(ValueError, match=message):
        learn.find_lr(**arguments)
    assert first_difference(before, capture(learn.state_entries())) is None


def test_a_loss_that_is_nan_from_the_start_is_said():
    learn = tiny_learner(loss_func=lambda pred, yb: pred.sum() * math.nan)
    with pytest.raises(
        ValueError, match=r"the loss must be a finite number .*; got nan in the fir"
    ):
        learn.find_lr()


def test_a_noisy_batch_of_a_model_that_fits_is_no_divergence():
    losses = iter([0.003, 0.002, *([0.003] * 8), 0.1, *([0.003] * 100)])

    def loss_func(pred, yb):
        return pred.sum() * 0 + next(losses)

    assert len(tiny_learner(loss_func=loss_func).find_lr(steps=30).losses) == 30


class Clips(Callback):
    """Wraps an action that only training has."""

    def __init__(self):
        self.calls = []  # as an attribute that is set it would be as before

    def finish_grad(self, run, proceed):
        proceed()
        self.calls.append(run.n_steps)
        nn.utils.clip_grad_norm_(run.trained_parameters(), 1e-3)


class ClipsInFits(Clips):
    evaluates = False


def test_what_wraps_the_actions_of_training_takes_part_unless_it_says_otherwise():
    bare = tiny_learner().find_lr(1e-2, 1.0, steps=10)
    clips, leaves = Clips(), ClipsInFits()
    clipped = tiny_learner([clips]).find_lr(1e-2, 1.0, steps=10)
    assert (len(clips.calls), clipped.losses[0]) == (10, bare.losses[0])
    assert clipped.losses[-1] > bare.losses[-1]
    assert tiny_learner([leaves]).find_lr(1e-2, 1.0, steps=10).losses == bare.losses
    assert leaves.calls == []
    tiny_learner([clips]).validate()
    assert len(clips.calls) == 10


@pytest.mark.parametrize(
    ("value", "said"), [(None, "lr=None"), ("auto", "lr='auto'"), ((), "no lr")]
)
def test_a_rate_that_is_no_number_is_refused(value, said):
    class Own(torch.optim.SGD):
        def step(self):
            pass

    learn = tiny_learner(opt=partial(Own, lr=0.1))
    group = learn.opt.param_groups[0]
    group.update(lr=value)
    if value == ():
        del group["lr"]
    with pytest.raises(ValueError, match=rf"lr of every .* group 0 of Own has {said}\. Give the"):
        learn.find_lr()
    assert f"{value}" in str(learn.summary()) or value == ()


@pytest.mark.parametrize(
    "losses",
    [[2.0, 1.5, 1.0, 9e9], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4e5]],
)
def test_the_plot_has_room_for_the_fall_and_not_for_the_blow_up(losses):
    curve = LRCurve([1e-3, 1e-2, 0.1, 1.0], losses, None)
    low, high = curve.limits
    assert low < min(losses) <= losses[0] < high <= 2.5
    (ax,) = curve.plot().axes
    assert ax.get_ylim() == pytest.approx((low, high))

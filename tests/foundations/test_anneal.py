"""Rung 8: the callbacks that follow schedules, and record and draw what was used."""

import matplotlib.pyplot as plt
import pytest
import torch

from lehr.foundations.anneal import (
    ParamScheduler,
    Recorder,
    combine_scheds,
    cos_1cycle_anneal,
    sched_cos,
    sched_lin,
    sched_no,
)
from lehr.foundations.runner import AvgStatsCallback, Callback, Runner


def recorded(learn, *cbs, epochs=3):
    recorder = Recorder()
    Runner([recorder, *cbs]).fit(epochs, learn)
    return recorder


def test_every_training_batch_is_recorded(make_learner):
    """Three epochs of 98 batches give 294 learning rates and 294 losses, none of the validation
    batches, as plain numbers. A recorder that does not look at the pass has 324."""

    class Careless(Recorder):
        def after_loss(self):
            self.losses.append(self.loss.item())

    recorder = recorded(make_learner(98, 10))
    assert len(recorder.lrs) == len(recorder.losses) == 294
    assert {type(value) for value in recorder.lrs + recorder.losses} == {float}
    assert recorder.losses[-1] < recorder.losses[0]
    careless = Careless()
    Runner(careless).fit(3, make_learner(98, 10))
    assert len(careless.losses) == 324


def test_the_rate_is_that_of_the_last_group(make_learner):
    """With one group its rate is recorded, with two the last one's. Group number 1, which is often
    meant, does not exist in the first case."""
    learn = make_learner()
    assert recorded(learn, epochs=1).lrs == [0.1, 0.1]
    with pytest.raises(IndexError):
        learn.opt.param_groups[1]
    extra = torch.zeros(1, requires_grad=True)
    learn.opt.add_param_group({"params": [extra], "lr": 0.3})
    assert recorded(learn, epochs=1).lrs == [0.3, 0.3]


def test_the_recorded_rates_are_those_of_the_schedule(make_learner):
    """The rate of batch i of 294 is f(i/294); the position begins at 0, ends at 0.996599 and never
    reaches 1. Nothing is set in validation."""
    positions = []

    def schedule(pos):
        positions.append(pos)
        return sched_cos(0.5, 0.01)(pos)

    recorder = recorded(make_learner(98, 10), ParamScheduler("lr", schedule))
    expected = [sched_cos(0.5, 0.01)(i / 294) for i in range(294)]
    assert recorder.lrs == pytest.approx(expected, abs=1e-6)
    assert recorder.lrs != pytest.approx([sched_lin(0.5, 0.01)(i / 294) for i in range(294)])
    assert (len(positions), positions[0]) == (294, 0)
    assert positions[-1] == max(positions) == pytest.approx(0.996599, abs=5e-7)


@pytest.mark.parametrize("pname", ["lr", "momentum", "weight_decay", "dampening"])
def test_any_hyper_parameter_of_every_group_can_be_driven(make_learner, pname):
    """Every group's value follows the schedule, whatever its name in torch's optimizer."""
    learn = make_learner(4)
    weights, *others = learn.model.parameters()
    groups = [{"params": [weights]}, {"params": others}]
    learn.opt = torch.optim.SGD(groups, lr=0.1, momentum=0.5)
    seen = []

    class Look(Callback):
        def after_step(self):
            seen.append([group[pname] for group in self.opt.param_groups])

    Runner([Look(), ParamScheduler(pname, sched_lin(0.4, 0.0))]).fit(1, learn)
    assert seen == [pytest.approx([value] * 2) for value in (0.4, 0.3, 0.2, 0.1)]


def test_a_name_that_no_group_has_is_refused(make_learner):
    """A misspelt hyper-parameter is an error, not a new entry that no optimizer reads."""
    learn = make_learner()
    with pytest.raises(ValueError, match="pname must be in all groups; got 'lrr'"):
        Runner(ParamScheduler("lrr", sched_no(1, 1))).fit(1, learn)
    assert "lrr" not in learn.opt.param_groups[0]


def test_rate_and_momentum_move_together(make_learner):
    """One fit drives lr and momentum by two schedules at once, each in its own way."""
    learn, momenta = make_learner(10), []
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=0.1, momentum=0.9)
    lr = combine_scheds([0.3, 0.7], cos_1cycle_anneal(0.1, 0.5, 0.01))
    momentum = combine_scheds([0.3, 0.7], cos_1cycle_anneal(0.95, 0.85, 0.95))

    class Look(Callback):
        def after_step(self):
            momenta.append(self.opt.param_groups[0]["momentum"])

    recorder = recorded(
        learn, ParamScheduler("lr", lr), ParamScheduler("momentum", momentum), Look(), epochs=1
    )
    assert recorder.lrs == pytest.approx([lr(i / 10) for i in range(10)])
    assert momenta == pytest.approx([momentum(i / 10) for i in range(10)])
    assert recorder.lrs.index(max(recorder.lrs)) == momenta.index(min(momenta)) == 3


def test_the_first_recorded_rate_is_the_first_of_the_schedule(make_learner):
    """The scheduler acts after the counter and before the recorder looks, wherever they stand in
    the list. A recorder that looks as the batch begins would see the rate of before."""

    class Early(Recorder):
        def begin_batch(self):
            self.lrs.append(self.opt.param_groups[-1]["lr"])

        def after_loss(self):
            pass

    for order in (1, -1):
        recorder, early = Recorder(), Early()
        cbs = [recorder, early, ParamScheduler("lr", sched_lin(0.5, 0.0))][::order]
        Runner(cbs).fit(1, make_learner(4))
        assert recorder.lrs == pytest.approx([0.5, 0.375, 0.25, 0.125])
        assert early.lrs[0] == 0.1
    assert ParamScheduler("lr", sched_no(1, 1))._order > AvgStatsCallback()._order


def test_tensors_have_ndim_and_schedules_take_positions_from_a_tensor(make_learner):
    """A tensor says how many dimensions it has, with nothing patched; a schedule maps over the
    positions in a tensor."""
    assert "ndim" in dir(torch.Tensor)
    assert torch.zeros(2, 3).ndim == 2
    positions = torch.linspace(0, 1, 5)
    assert [sched_lin(0, 4)(pos) for pos in positions] == [0, 1, 2, 3, 4]
    assert torch.tensor(recorded(make_learner(), epochs=1).lrs).ndim == 1


@pytest.mark.parametrize("name", ["lr", "loss"])
def test_rates_and_losses_are_drawn(make_learner, name):
    """A plot shows a point for every training batch, in axes of its own or in those it is given."""
    recorder = recorded(make_learner(5), ParamScheduler("lr", sched_lin(0.5, 0.0)), epochs=2)
    plot = getattr(recorder, f"plot_{name}")
    values = {"lr": recorder.lrs, "loss": recorder.losses}
    try:
        (line,) = plot().lines
        assert line.get_ydata().tolist() == values.pop(name)
        assert line.get_ydata().tolist() != next(iter(values.values()))
        _, ax = plt.subplots()
        assert plot(ax) is ax
        assert len(ax.lines) == 1
    finally:
        plt.close("all")

"""Rewind goes back when the loss explodes, and leaves out what led to it."""

import math

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import Checkpoint, JSONLLog, ParamScheduler, Rewind
from lehr.schedules import sched_cos
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

BAD = [math.nan, math.inf, -math.inf, 1e9]


class Spoil(Callback):
    """Multiplies the loss of some training batches."""

    layer = 5
    state = ()

    def __init__(self, *at, value=math.inf):
        self.at, self.value = at, value

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and (run.epoch, run.batch_index) in self.at:
            run.loss = run.loss * self.value

    def __repr__(self):
        return "Spoil()"


class LeaveOut(Callback):
    """Skips some training batches."""

    def __init__(self, *batches):
        self.batches = batches

    def begin_batch(self, run):
        from lehr import CancelBatch

        if run.training and (run.epoch, run.batch_index) in self.batches:
            raise CancelBatch


class Pairs(Callback):
    state = ()
    batches_per_step = 2

    def begin_batch(self, run):
        run.closes = run.batch_index % 2 == 1


def learner(*callbacks, **kwargs):
    """Four batches an epoch, momentum, dropout."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return tiny_learner(list(callbacks), model=model, opt=opt, seed=1, **kwargs)


def same(a, b):
    entries = [{name: run.state_entries()[name] for name in ("model", "opt")} for run in (a, b)]
    return first_difference(*map(capture, entries)) is None


@pytest.mark.parametrize("value", BAD)
def test_after_a_spike_the_run_is_one_that_had_left_those_batches_out(value):
    rewind = Rewind(every="1 steps", keep=9, back=3, window=10)
    run = learner(rewind, Spoil((3, 1), value=value)).fit(5)
    skipped = [(2, 2), (2, 3), (3, 0), (3, 1)]  # step 13 spiked; step 10 is the third before it
    without = learner(LeaveOut(*skipped)).fit(5)
    assert run.rewinds == [(13, 10)]
    assert same(run, without)
    assert run.history["loss"] == without.history["loss"]
    assert not same(run, learner(LeaveOut(*skipped[1:])).fit(5))
    assert run.n_steps == 16
    (event,) = rewind.events
    assert (event["step"], event["epoch"], event["batch"], event["to"]) == (13, 3, 1, 10)
    assert run.history.meta["rewinds"] == [[13, 10]]


def test_without_a_spike_nothing_is_changed():
    run = learner(Rewind(every="1 steps", keep=3, lr_factor=0.5)).fit(4)
    assert same(run, learner().fit(4))
    assert run.rewinds == []
    assert "lr_factor" not in run.history.series


def test_a_loss_that_is_only_high_is_no_spike_where_none_is_asked_for():
    rewind = Rewind(every="1 steps", spike=None)
    assert learner(rewind, Spoil((3, 1), value=1e9)).fit(4).rewinds == []
    assert rewind.events == []


def test_what_is_usual_has_to_be_known_first():
    assert learner(Rewind(every="1 steps"), Spoil((0, 3), value=1e9)).fit(1).rewinds == []
    assert learner(Rewind(every="1 steps"), Spoil((0, 3))).fit(1).rewinds == [(3, 2)]


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_rate_is_lower_from_there_on_whoever_drives_it(scheduled):
    class Rates(Callback):
        layer = 6  # inside

        def begin_fit(self, run):
            self.used = {}

        def step(self, run, proceed):
            self.used[run.n_steps] = run.opt.param_groups[0]["lr"]
            proceed()

    schedule = sched_cos(0.1, 0.01)
    drives = [ParamScheduler("lr", schedule)] if scheduled else []
    rates, rewind = Rates(), Rewind(every="2 steps", back=1, lr_factor=0.5)
    learn = learner(*drives, rates, rewind, Spoil((1, 1), (2, 3)))
    run = learn.fit(4)
    assert run.rewinds == [(5, 4), (9, 8)]
    expected = {
        step: (schedule(step / 16) if scheduled else 0.1) * (0.5 ** ((step >= 4) + (step >= 8)))
        for step in range(run.n_steps)
    }
    assert rates.used == pytest.approx(expected)
    assert run.history["lr_factor"] == [0.5 ** (1 + (step >= 8)) for step in range(4, run.n_steps)]
    assert learn.opt.param_groups[0]["lr"] == 0.1  # as before the fit


def test_going_back_behind_an_earlier_time_keeps_its_lower_rate():
    rewind = Rewind(every="1 steps", keep=20, back=1, lr_factor=0.5)
    rewind.lowered = [[3, 0.5], [10, 0.5]]
    rewind.kept, rewind.events = [{"step": 5, "epoch": 1, "batch": 0, "stage": "batch"}], []
    rewind.skipped = []
    from lehr.record.unread import Place

    rewind._arrange(None, Place(12, 3, 0), math.nan)
    assert rewind.lowered == [[3, 0.5], [5, 0.5], [5, 0.5]]
    assert [rewind._factor(step) for step in (2, 3, 4, 5, 12)] == [1, 0.5, 0.5, 0.125, 0.125]


@pytest.mark.parametrize("check_every", [1, 2, 3, 7])
def test_losses_that_are_read_late_lead_to_the_same_run(check_every):
    late = Rewind(every="1 steps", keep=20, back=1, check_every=check_every)
    run = learner(late, Spoil((1, 2))).fit(4)
    assert (run.rewinds[0][1], late.events[0]["step"]) == (5, 6)
    assert same(run, learner(LeaveOut((1, 1), (1, 2))).fit(4))


def test_whole_windows_are_undone():
    rewind = Rewind(every="1 steps", keep=9, back=1)
    run = learner(rewind, Pairs(), Spoil((2, 0))).fit(4)
    assert run.rewinds[0][1] == 3  # step 4 spiked in its first batch
    assert same(run, learner(Pairs(), LeaveOut((1, 2), (1, 3), (2, 0))).fit(4))


def test_states_kept_by_the_epoch():
    rewind = Rewind(every="1 epoch", back=1)
    run = learner(rewind, Spoil((2, 2))).fit(4)
    assert run.rewinds == [(10, 8)]
    assert same(run, learner(LeaveOut((2, 0), (2, 1), (2, 2))).fit(4))


@pytest.mark.parametrize("stop", [3, 6, 7, 8, 9, 12, 14])
def test_a_run_that_is_stopped_goes_back_as_one_that_is_not(tmp_path, stop):
    class StopAt(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == stop and len(run.rewinds) == (stop > 8):
                run.interrupt("enough")

    def parts():
        rewind = Rewind(every="2 steps", keep=2, back=2, lr_factor=0.5, check_every=2)
        saving = Checkpoint(tmp_path, every="1 steps")
        return learner(rewind, saving, Spoil((2, 0), (3, 2)))

    parts().fit(5, callbacks=[StopAt()])
    resumed = parts().fit(5, resume="auto")
    straight = learner(
        Rewind(every="2 steps", keep=2, back=2, lr_factor=0.5, check_every=2),
        Spoil((2, 0), (3, 2)),
    ).fit(5)
    assert len(straight.rewinds) == 2
    assert resumed.rewinds == straight.rewinds
    assert same(resumed, straight)
    assert resumed.history["loss"] == straight.history["loss"]


def test_a_log_holds_the_course_that_the_run_took(tmp_path):
    path = tmp_path / "log.jsonl"
    run = learner(Rewind(every="1 steps", back=3), JSONLLog(path), Spoil((1, 2))).fit(3)
    import json

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == run.history["loss"]


def test_a_past_step_of_the_course_that_was_taken_is_made_again(tmp_path):
    rewind, saving = Rewind(every="1 steps", keep=9, back=2, lr_factor=0.5), Checkpoint(tmp_path)
    learn = learner(rewind, saving, Spoil((1, 3)))
    run = learn.fit(4)
    assert run.rewinds == [(7, 5)]
    for step in (2, 5, 6, 9):
        replay = run.replay(step)
        assert replay.exact
        assert replay.losses == [run.history["loss"][_record(run, step)]]


def _record(run, step):
    """The place, in the series of losses, of the batch that made a step."""
    counted = [entry for entry in run.history.steps() if "loss" in entry]
    skipped = 3 if step >= 5 else 0
    return next(i for i, entry in enumerate(counted) if entry["batch"] == step + skipped)


def test_it_gives_up_at_its_limit():
    always = [(epoch, batch) for epoch in range(1, 4) for batch in range(4)]
    rewind = Rewind(every="1 steps", back=1, limit=2)
    text = r"loss spiked to inf at step \d+ \(epoch 1, batch 2\), and Rewind went back 2 times al"
    with pytest.raises(FloatingPointError, match=text):
        learner(rewind, Spoil(*always)).fit(4)


def test_it_says_so_where_no_state_is_old_enough():
    rewind = Rewind(every="1 steps", keep=1, back=1, check_every=3)
    with pytest.raises(FloatingPointError, match=r"Rewind keeps no state from before it\. Lower"):
        learner(rewind, Spoil((0, 1))).fit(4)


class ByHand(Callback):
    """Asks, once, to go back."""

    def __init__(self, at, steps, event="after_step"):
        self.at, self.steps = at, steps
        setattr(self, event, self.ask)

    def ask(self, run):
        if run.n_steps == self.at and not run.rewinds:
            run.rewind(self.steps)


@pytest.mark.parametrize("event", ["after_step", "begin_batch", "after_train", "after_epoch"])
def test_a_run_that_is_wound_back_by_hand_takes_the_same_course_again(event):
    at = 4 if event in ("after_train", "after_epoch") else 6
    run = learner(Rewind(every="1 steps", keep=9), ByHand(at, 3, event)).fit(3)
    assert run.rewinds == [(at + (event == "begin_batch"), at - 3)]
    assert same(run, learner().fit(3))


def test_states_on_disk_will_do(tmp_path):
    run = learner(Checkpoint(tmp_path, every="2 steps", keep=9), ByHand(6, 3)).fit(3)
    assert run.rewinds == [(6, 2)]
    assert same(run, learner().fit(3))


def test_of_two_wishes_the_last_counts():
    class Twice(ByHand):
        def ask(self, run):
            if run.n_steps == self.at and not run.rewinds:
                run.rewind(1)
                run.rewind(4)

    run = learner(Rewind(every="1 steps", keep=9), Twice(6, 0)).fit(3)
    assert run.rewinds == [(6, 2)]


@pytest.mark.parametrize(
    ("steps", "keep", "error", "text"),
    [
        (7, 9, ValueError, "steps must be at most 6, as many as this run has done; got 7"),
        (0, 9, ValueError, "steps must be at least 1; got 0"),
        (1.5, 9, TypeError, "steps must be an int"),
        (4, 2, ValueError, "no state from before step 2 is left, or none can be read"),
    ],
)
def test_what_cannot_be_gone_back_to_is_said(steps, keep, error, text):
    with pytest.raises(error, match=text):
        learner(Rewind(every="1 steps", keep=keep), ByHand(6, steps)).fit(3)


def test_nobody_keeps_anything():
    text = r"no callback keeps states of this run\. Attach a Checkpoint or a Rewind to the fit"
    with pytest.raises(ValueError, match=text):
        learner(ByHand(6, 1)).fit(3)


def test_who_asks_before_it_has_begun_is_told_that_nothing_is_kept():
    class Early(Callback):
        before = ("Rewind",)
        state = ()

        def begin_fit(self, run):
            run.replay(0)

    with pytest.raises(ValueError, match="step"):
        learner(Rewind(), Early()).fit(1)


def test_nothing_is_kept_when_the_fit_is_over():
    rewind = Rewind(every="1 steps", keep=9)
    learner(rewind).fit(3)
    assert rewind.kept == []


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"every": "2 minutes"}, ValueError, "every must be a whole number and a unit"),
        ({"keep": 0}, ValueError, "keep must be at least 1; got 0"),
        ({"back": 0}, ValueError, "back must be at least 1; got 0"),
        ({"spike": -1}, ValueError, r"spike must be above 0; got -1\. Use e\.g\. spike=0\.5"),
        ({"lr_factor": 0}, ValueError, "lr_factor must be above 0; got 0"),
        ({"window": 9}, ValueError, "window must be at least 10; got 9"),
        ({"limit": 0}, ValueError, "limit must be at least 1"),
        ({"check_every": 0}, ValueError, "check_every must be at least 1"),
    ],
)
def test_wrong_arguments_speak(given, error, text):
    with pytest.raises(error, match=text):
        Rewind(**given)


def test_it_prints_as_it_was_written():
    assert repr(Rewind()) == "Rewind(every='10 steps', keep=2, back=10, spike=6.0, lr_factor=1.0)"

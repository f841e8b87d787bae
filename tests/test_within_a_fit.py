"""What is asked of a Learner in the middle of its own fit changes nothing of that fit, or is
refused before anything was changed."""

from functools import partial

import pytest
import torch
from torch import nn

from lehr import Callback, Layer, accuracy
from lehr.callbacks import ParamScheduler
from lehr.events import ACTIONS, EVENTS
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Pairs(Callback):
    """Two batches a step."""

    layer = Layer.WINDOW
    batches_per_step = 2

    def begin_batch(self, run):
        run.closes = run.window.batches == 1


class Draws(Callback):
    """Draws from everything that is random, and keeps what it declares and what it does not."""

    state = ("seen",)

    def begin_fit(self, run):
        self.seen, self.undeclared = [], 0

    def after_pred(self, run):
        self.seen.append(torch.rand(1, generator=run.stream("draws")).item())
        self.undeclared += torch.rand(1).item()

    def begin_batch(self, run):
        run.xb = run.xb + 0.1 * torch.randn_like(run.xb)


class Noise(Callback):
    """Takes part in every pass, and counts there."""

    evaluates = True
    state = ("n",)

    def begin_fit(self, run):
        self.n, self.calls = 0, 0

    def predict(self, run, proceed):
        self.n += 1
        self.calls += 1
        proceed()


class Correct:
    """A metric that is an object, as those of torchmetrics are."""

    __name__ = "correct"

    def __init__(self):
        self.reset()

    def reset(self):
        self.right = self.seen = 0

    def update(self, pred, yb):
        self.right += int((pred.argmax(1) == yb).sum())
        self.seen += len(yb)

    def compute(self):
        return torch.tensor(self.right / max(self.seen, 1))


def a_door(learn, door):
    """One of the things that a Learner can be asked for."""
    return {
        "validate": learn.validate,
        "predict": partial(learn.predict, torch.zeros(4, 3)),
        "rehearse": partial(learn.rehearse, 3),
        "find_lr": partial(learn.find_lr, steps=10),
        "summary": learn.summary,
        "audit": learn.audit,
        "probe": partial(changed, learn),
        "explain": learn.explain,
        "check_resume": partial(learn.check_resume, epochs=1, batches=2),
    }[door]


def changed(learn):
    """Change what can be changed, in a probe."""
    with learn.probe(), torch.no_grad():
        for p in learn.model.parameters():
            p.add_(1)
            p.grad = None
        learn.model.eval()
        torch.rand(3)
        learn.opt.param_groups[0]["lr"] = 7.0
        if learn.run is not None:
            learn.run.log("inside", 1.0)
        learn.run = None


def asks(moment, door):
    """A callback that asks once in a training batch or pass, and once elsewhere."""

    def ask(run):
        places = ask.places
        place = run.training
        late = run.epoch >= 1 or moment == "begin_fit"
        here = run.n_iter % 4 == 1 or not run.training or moment not in _OFTEN
        if late and here and place not in places:
            places.add(place)
            a_door(run.learn, door)()

    ask.places = set()

    def listens(self, run):
        ask(run)

    def acts(self, run, proceed):
        ask(run)
        proceed()

    body = listens if moment in EVENTS else acts
    made = type("Asks", (Callback,), {moment: body, "evaluates": False, "replays": False})()
    return made, ask.places


_OFTEN = (*ACTIONS, "begin_batch", "after_pred", "after_loss", "after_backward", "after_batch")


def trained(*more):
    """The bits that a fit ends with, with a dropout, batch norm, momentum, and a schedule."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2)
    )
    learn = tiny_learner(
        [Noise(), Pairs(), ParamScheduler("momentum", sched_lin(0.9, 0.5))],
        model=model,
        opt=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        metrics=[accuracy, Correct()],
    )
    own = [ParamScheduler("lr", sched_lin(0.4, 0.0)), Draws()]
    run = learn.fit(3, [*own, *more], validate_every="3 steps")
    assert learn.run is run
    state = capture({**learn.state_entries(), **run.state_entries()})
    state["undeclared"] = own[1].undeclared
    return {k: timeless(v) for k, v in state.items() if k != "callbacks.asks"}


def timeless(value):
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "seconds"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


DOORS = ("validate", "predict", "rehearse", "find_lr", "summary", "audit", "probe", "explain")


@pytest.fixture(scope="module")
def straight():
    return trained()


@pytest.mark.parametrize("door", [*DOORS, "check_resume"])
@pytest.mark.parametrize("moment", [*EVENTS, *ACTIONS])
def test_a_door_that_is_opened_within_a_fit_changes_none_of_its_bits(moment, door, straight):
    asking, places = asks(moment, door)
    assert first_difference(straight, trained(asking)) is None
    assert places


def test_the_bits_that_are_compared_tell_a_fit_from_another(straight):
    class Nudges(Callback):
        def after_batch(self, run):
            if run.n_iter == 5:
                with torch.no_grad():
                    next(run.model.parameters()).mul_(1 + 1e-6)

    assert first_difference(straight, trained(Nudges())) is not None


@pytest.mark.parametrize("door", ["validate", "audit", "check_resume"])
def test_what_a_hook_logs_while_the_model_is_looked_at_is_not_kept(door):
    class Hooks(Callback):
        def begin_fit(self, run):
            layer = run.model[0]
            handle = layer.register_forward_hook(lambda *_: run.log("seen", 1.0))
            run.defer(handle.remove)

        def after_batch(self, run):
            if run.training and run.n_iter in (2, 3):
                a_door(run.learn, door)()

    learn = tiny_learner()
    assert learn.fit(2, callbacks=[Hooks()]).history["seen"] == [1.0] * 8


def inside(door, metric):
    """A callback that asks a Learner of its own, which has the same metric, in a validation."""

    class Nested(Callback):
        def __init__(self):
            self.learn = tiny_learner(metrics=[metric], items=64, seed=5)

        def after_batch(self, run):
            if not run.training:
                if door == "fit":
                    self.learn.fit(1)
                else:
                    self.learn.validate()

    return Nested()


@pytest.mark.parametrize("door", ["fit", "validate"])
def test_a_metric_that_two_learners_share_measures_for_each_alone(door):
    straight, metric = tiny_learner(metrics=[Correct()]).fit(2), Correct()
    nested = inside(door, metric)
    run = tiny_learner([nested], metrics=[metric]).fit(2)
    assert run.history["correct"] == straight.history["correct"]
    nested.learn.validate()
    assert metric.seen == 32  # outside a run it is the user's own object again


def test_a_metric_that_is_not_in_use_is_not_copied():
    metric = Correct()
    tiny_learner(metrics=[metric]).validate()
    assert metric.seen == 16

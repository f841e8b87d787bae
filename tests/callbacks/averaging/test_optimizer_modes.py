"""Optimizers with two sets of weights: what is measured is what is kept."""

import copy

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint, EarlyStopping, OptimizerModes, ParamScheduler, Rewind
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

BETA = 0.9


class ScheduleFree(torch.optim.Optimizer):
    """As AdamWScheduleFree of the package schedulefree: its mode is in its groups."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "k": 0, "train_mode": False})

    def _set(self, training):
        for group in self.param_groups:
            for p in group["params"] if group["train_mode"] is not training else ():
                if "z" in self.state[p]:
                    weight = 1 - BETA if training else 1 - 1 / BETA
                    with torch.no_grad():
                        p.lerp_(end=self.state[p]["z"], weight=weight)
            group["train_mode"] = training

    def train(self):
        self._set(True)

    def eval(self):
        self._set(False)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if not group["train_mode"]:
                raise RuntimeError("not in train mode")
            group["k"] += 1
            ck = 1 / group["k"]
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                p.lerp_(end=z, weight=ck)
                p.add_(p.grad, alpha=group["lr"] * (BETA * (1 - ck) - 1))
                z.sub_(p.grad, alpha=group["lr"])


class Wrapped:
    """As ScheduleFreeWrapper: none of torch's, with its mode in an attribute, not in its state."""

    def __init__(self, params, lr):
        self.base, self.train_mode = torch.optim.SGD(params, lr=lr), False

    param_groups = property(lambda self: self.base.param_groups)
    state = property(lambda self: self.base.state)

    def state_dict(self):
        return self.base.state_dict()

    def load_state_dict(self, state):
        self.base.load_state_dict(state)

    def zero_grad(self, set_to_none=True):
        self.base.zero_grad(set_to_none)

    @torch.no_grad()
    def _lerp(self, weight):
        for group in self.param_groups:
            for p in group["params"]:
                if "z" in self.state[p]:
                    p.lerp_(end=self.state[p]["z"], weight=weight)

    def train(self):
        if not self.train_mode:
            self._lerp(1 - BETA)
        self.train_mode = True

    def eval(self):
        if self.train_mode:
            self._lerp(1 - 1 / BETA)
        self.train_mode = False

    @torch.no_grad()
    def step(self, closure=None):
        if not self.train_mode:
            raise RuntimeError("not in train mode")
        for p in (p for group in self.param_groups for p in group["params"]):
            z = self.state[p].setdefault("z", p.clone())
            self.state[p]["k"] = k = self.state[p].get("k", 0) + 1
            x = torch.lerp(p, z, 1 - 1 / BETA)
            z.sub_(p.grad, alpha=self.param_groups[0]["lr"])
            x.lerp_(z, 1 / k)
            p.copy_(torch.lerp(x, z, 1 - BETA))


KINDS = [ScheduleFree, Wrapped]
kinds = pytest.mark.parametrize("kind", KINDS)


def parts(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 2))
    batches = [(torch.randn(6, 3), torch.randint(2, (6,))) for _ in range(5)]
    return model, kind(model.parameters(), lr=0.5), batches


def learner(kind, callbacks=(), **kwargs):
    model, opt, batches = parts(kind)
    model[1].p = 0.0
    data = DataBunch(batches, batches[:2])
    return tiny_learner(callbacks, model=model, opt=opt, data=data, **kwargs)


def weights(learn):
    return [p.detach().clone() for p in learn.model.parameters()]


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@kinds
def test_a_fit_equals_the_plain_loop_bit_for_bit(kind):
    model, opt, batches = parts(kind)
    model[1].p, losses = 0.0, []
    for _ in range(3):
        opt.train()
        for xb, yb in batches:
            nn.functional.cross_entropy(model(xb), yb).backward()
            opt.step()
            opt.zero_grad()
        opt.eval()
        with torch.no_grad():
            each = [nn.functional.cross_entropy(model(xb), yb).double() for xb, yb in batches[:2]]
        losses.append((sum(loss * 6 for loss in each) / 12).item())
    learn = learner(kind)
    run = learn.fit(3)
    assert same(weights(learn), list(model.parameters()))
    assert run.history["valid_loss"] == losses
    again = learner(kind)
    for _ in range(3):
        again.fit(1)
    assert same(weights(learn), weights(again))
    opt.train()  # the control: the other set of weights
    assert not same(weights(learn), list(model.parameters()))


@kinds
def test_after_the_fit_the_model_has_the_weights_that_were_measured(kind):
    learn = learner(kind)
    run = learn.fit(3)
    before = weights(learn)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    assert same(before, weights(learn))


def states(learn):
    found = capture(learn.state_entries())
    found["flag"] = getattr(learn.opt, "train_mode", None)
    return found


@kinds
@pytest.mark.parametrize("training", [True, False])
def test_nothing_that_only_looks_leaves_a_trace(kind, training):
    learn = learner(kind)
    learn.fit(2)
    if training:
        learn.opt.train()
    before = states(learn)
    measured = learn.validate()
    predicted = learn.predict(torch.ones(2, 3))
    learn.rehearse(3)
    learn.find_lr(steps=10)
    learn.summary()
    assert first_difference(before, states(learn)) is None
    learn.opt.eval()
    assert learn.validate() == measured
    assert torch.equal(learn.predict(torch.ones(2, 3)), predicted)


class Look(Callback):
    """Asks for everything in the middle of a batch, of a validation, and between epochs."""

    state = ()

    def _look(self, run):
        before = states(run.learn)
        run.learn.validate()
        run.learn.predict(torch.ones(2, 3))
        run.learn.rehearse(2)
        assert first_difference(before, states(run.learn)) is None

    def after_loss(self, run):
        if run.batch_index == 1:
            self._look(run)

    def after_epoch(self, run):
        self._look(run)


@kinds
def test_a_run_goes_on_as_if_it_had_not_been_asked(kind):
    plain, asked = learner(kind), learner(kind)
    one = plain.fit(2, validate_every="3 steps")
    two = asked.fit(2, [Look()], validate_every="3 steps")
    assert one.history["loss"] == two.history["loss"]
    assert one.history["valid_loss"] == two.history["valid_loss"]
    assert same(weights(plain), weights(asked))


def lowest(run):
    """The lowest loss of a validation, and its step; an epoch may have ended without one."""
    rows = zip(run.history["valid_loss"], run.history["step"], strict=True)
    return min(row for row in rows if row[0] is not None)


class Stop(Callback):
    state = ()
    replays = False

    def __init__(self, step=-1, validation=-1):
        self.step_, self.validation, self.seen = step, validation, 0

    def after_step(self, run):
        if run.n_steps == self.step_:
            run.interrupt("test")

    def after_validate(self, run):
        self.seen += 1
        if self.seen == self.validation:
            run.interrupt("test")


@kinds
@pytest.mark.parametrize("where", [{"step": 2}, {"step": 5}, {"step": 8}, {"validation": 1}])
@pytest.mark.parametrize("every", [None, "3 steps"])
def test_a_resumed_fit_ends_in_the_same_bits(kind, where, every, tmp_path):
    straight = learner(kind)
    expected = straight.fit(3, validate_every=every).history
    learner(kind).fit(3, [Checkpoint(tmp_path), Stop(**where)], validate_every=every)
    resumed = learner(kind)
    history = resumed.fit(3, [Checkpoint(tmp_path)], validate_every=every, resume="auto").history
    assert same(weights(straight), weights(resumed))
    assert history["loss"] == expected["loss"]
    assert history["valid_loss"] == expected["valid_loss"]


@kinds
def test_the_check_of_resuming_holds(kind):
    assert learner(kind).check_resume(epochs=2, batches=3).ok


@kinds
def test_going_back_takes_the_same_course(kind):
    class Once(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps == 7 and not run.rewinds:
                run.rewind(3)

    plain, back = learner(kind), learner(kind)
    one = plain.fit(3, validate_every="3 steps")
    two = back.fit(3, [Rewind(every="1 steps", keep=9), Once()], validate_every="3 steps")
    assert two.rewinds
    assert one.history["loss"] == two.history["loss"]
    assert same(weights(plain), weights(back))


class Rise(Callback):
    """Makes the training worse from an epoch on."""

    state = ()

    def begin_epoch(self, run):
        if run.epoch == 2:
            run.opt.param_groups[0]["lr"] = 30.0


@kinds
@pytest.mark.parametrize("every", [None, "3 steps"])
def test_the_best_that_is_restored_is_what_was_measured(kind, every):
    stopping = EarlyStopping(patience=9, restore_best=True)
    learn = learner(kind, [stopping, Rise()])
    run = learn.fit(4, validate_every=every)
    assert stopping.best < run.history["valid_loss"][-1]
    assert learn.validate()["valid_loss"] == stopping.best


@kinds
@pytest.mark.parametrize("every", [None, "3 steps"])
def test_the_best_checkpoint_holds_what_was_measured_and_goes_on_as_it_was(kind, every, tmp_path):
    saver = Checkpoint(tmp_path, every="99 epochs", monitor="valid_loss", keep=99)
    learn = learner(kind, [saver, Rise()])
    run = learn.fit(4, validate_every=every)
    value, at = lowest(run)
    best = tmp_path / f"step-{at:08d}"
    other = learner(kind)
    other.load(best)
    assert other.validate()["valid_loss"] == value
    resumed = learner(kind, [Rise()])
    resumed.fit(4, validate_every=every, resume=best)
    assert same(weights(learn), weights(resumed))


@kinds
def test_it_is_attached_by_itself_and_only_once(kind):
    learn = learner(kind)
    assert [type(cb) for cb in learn.everybody()].count(OptimizerModes) == 1
    own = OptimizerModes()
    assert [cb for cb in learn.everybody([own]) if isinstance(cb, OptimizerModes)] == [own]
    assert "OptimizerModes" in learn.explain()
    assert not any(isinstance(cb, OptimizerModes) for cb in tiny_learner().everybody())


@kinds
def test_after_an_error_the_weights_are_those_to_be_used(kind):
    class Fail(Callback):
        def after_step(self, run):
            if run.n_steps == 3:
                raise ZeroDivisionError

    learn, other = learner(kind, [Fail()]), learner(kind)
    with pytest.raises(ZeroDivisionError):
        learn.fit(2)
    other.fit(steps=3)
    assert same(weights(learn), weights(other))


@kinds
def test_one_of_several_optimizers_is_switched(kind):
    learn = learner(kind)
    model = learn.model
    opts = {
        "free": kind(model[0].parameters(), lr=0.1),
        "plain": torch.optim.SGD(model[2].parameters(), 0.1),
    }
    both = tiny_learner(model=model, opt=opts)
    both.fit(2, [ParamScheduler("opt.free.lr", sched_lin(0.1, 0.0))])
    before = copy.deepcopy(weights(both))
    both.validate()
    assert same(before, weights(both))


def test_without_a_validation_the_training_goes_on_in_one_mode():
    calls = []

    class Calls(torch.optim.SGD):
        def train(self):
            calls.append("train")

        def eval(self):
            calls.append("eval")

    learn = tiny_learner(opt=lambda ps: Calls(ps, lr=0.1))
    learn.data = DataBunch(learn.data.train_dl)
    learn.fit(3)
    assert calls == ["train", "eval"]
    learn.fit(0)
    assert calls == ["train", "eval"]

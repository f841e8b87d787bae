"""What a Learner hands on."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lehr import Callback, CancelFit, accuracy
from lehr.callbacks import ParamScheduler
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def test_each_door_leads_to_what_does_the_work():
    learn = tiny_learner()
    assert learn.explain().startswith("fit")
    assert len(learn.summary().layers) == 3
    assert learn.audit().sites
    assert learn.find_lr(steps=10).lrs[0] == pytest.approx(1e-6)


def test_weights_go_to_a_file_and_come_back_in_place(tmp_path):
    learn, other = tiny_learner(seed=1), tiny_learner(seed=1)
    learn.fit(1)
    learn.save(tmp_path / "trained.safetensors")
    first, weights = learn.model[0].weight, [p.detach().clone() for p in other.model.parameters()]
    learn.fit(1)
    assert not learn.load(str(tmp_path / "trained.safetensors"))
    other.load(tmp_path / "trained.safetensors")
    assert learn.model[0].weight is first
    pairs = zip(learn.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(weights, other.model.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_what_does_not_fit_is_refused_unless_asked_for(tmp_path):
    learn = tiny_learner()
    torch.save({"0.bias": torch.ones(4)}, tmp_path / "some.pt")
    with pytest.raises(ValueError, match=r"do not fit the model; nothing was changed\."):
        learn.load(tmp_path / "some.pt")
    assert not learn.model[0].bias.equal(torch.ones(4))
    assert len(learn.load(tmp_path / "some.pt", strict=False).missing) == 3
    assert learn.model[0].bias.equal(torch.ones(4))


class Count(Callback):
    moves = ("batches",)
    state = ("n",)

    def begin_fit(self, run):
        self.n = 0

    def begin_batch(self, run):
        self.n += run.training


PASSES = {
    "validate": lambda learn: learn.validate(),
    "predict": lambda learn: learn.predict(torch.zeros(2, 3)),
    "rehearse": lambda learn: learn.rehearse(2),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_leaves_the_state_of_those_who_take_part_also_within_a_fit(name):
    class Looks(Callback):
        def after_batch(self, run):
            if run.training and run.n_iter == 6:
                PASSES[name](run.learn)

    count, schedule = Count(), ParamScheduler("lr", sched_lin(0.4, 0.0))
    learn = tiny_learner([count, schedule])
    straight = learn.fit(3).recorder.lrs
    assert count.n == 12
    PASSES[name](learn)
    assert count.n == 12
    count, schedule = Count(), ParamScheduler("lr", sched_lin(0.4, 0.0))
    learn = tiny_learner([count, schedule, Looks()])
    assert learn.fit(3).recorder.lrs == straight
    assert count.n == 12
    assert learn.opt.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("name", ["validate", "predict"])
def test_a_pass_that_is_cut_short_before_its_first_batch_says_so(name):
    class Cancels(Callback):
        evaluates = True

        def begin_validate(self, run):
            raise CancelFit("enough")

    with pytest.raises(ValueError, match="cut short before its first"):
        PASSES[name](tiny_learner([Cancels()]))


def test_a_validation_that_is_cut_short_has_no_numbers_under_every_name():
    class Stops(Callback):
        evaluates = True

        def after_batch(self, run):
            run.stop("enough")

    learn = tiny_learner([Stops()], metrics=[accuracy])
    assert learn.validate() == {"valid_loss": None, "accuracy": None}


def test_to_predict_takes_no_weight():
    learn = tiny_learner(weight=lambda run: (run.yb >= 0).sum())
    assert learn.predict(torch.zeros(2, 3)).shape == (2, 2)


class Average(Callback):
    """Validates with the mean of the weights of all steps."""

    state = ("mean", "steps")
    evaluates = True

    def begin_fit(self, run):
        self.mean, self.steps = deepcopy(run.model), 0

    def after_step(self, run):
        self.steps += 1
        with torch.no_grad():
            for mean, p in zip(self.mean.parameters(), run.model.parameters(), strict=True):
                mean.lerp_(p, 1 / self.steps)

    def begin_validate(self, run):
        own = deepcopy(run.model.state_dict())
        run.model.load_state_dict(self.mean.state_dict())
        run.defer(lambda: run.model.load_state_dict(own))


class Undeclared(Average):
    state = ()


@pytest.mark.parametrize("kind", [Average, Undeclared])
def test_a_pass_after_a_fit_finds_what_the_callbacks_have_though_they_begin_anew(kind):
    average = kind()
    learn = tiny_learner([average])
    measured = learn.fit(2).history["valid_loss"][-1]
    mean, steps = average.mean, average.steps
    assert tiny_learner(model=learn.model).validate()["valid_loss"] != measured  # the control
    for _ in range(2):
        assert learn.validate()["valid_loss"] == measured
        assert average.mean is mean
        assert average.steps == steps == 8
    inputs = learn.data.valid_dl
    mean_of = tiny_learner(model=deepcopy(mean)).predict(inputs)
    assert torch.equal(learn.predict(inputs), mean_of)


class Everything(Callback):
    """Makes an optimizer, a tensor, modules in a list, and a view of the model; declares none."""

    evaluates = True

    def begin_fit(self, run):
        self.parts = [nn.Linear(2, 1)]
        nn.init.zeros_(self.parts[0].weight)
        self.opt = torch.optim.SGD(self.parts[0].parameters(), lr=0.1, momentum=0.9)
        self.sum, self.view = torch.zeros(()), nn.Sequential(run.model)
        self.size = nn.Linear(2, 1 + (run.plan.epochs or 0))

    def after_pred(self, run):
        self.sum = self.sum + run.training
        if run.training:
            self.parts[0](run.pred.detach()).sum().backward()
            self.opt.step()

    def begin_validate(self, run):
        moments = [state["momentum_buffer"].sum().item() for state in self.opt.state.values()]
        self.seen = [self.parts[0].weight.sum().item(), self.sum.item(), *moments]


def test_what_a_pass_cannot_give_back_it_says_and_the_weights_of_the_model_stay():
    looks = Everything()
    learn = tiny_learner([looks])
    learn.fit(1)
    seen, before = looks.seen, capture({"model": learn.model})
    assert all(seen)
    found = []
    looks.after_validate = lambda run: found.append(looks.seen)
    match = r"^Everything\.begin_fit has made 'size' anew for this pass, and what it was cannot be"
    with pytest.warns(UserWarning, match=match):
        learn.validate()
    assert found == [seen]
    other = tiny_learner(seed=7)
    learn.model = other.model
    before = capture({"model": learn.model})
    with pytest.warns(UserWarning, match=match):
        learn.validate()
    assert first_difference(before, capture({"model": learn.model})) is None


def test_in_a_fit_a_pass_finds_what_is_declared_as_it_is_then():
    class Asks(Callback):
        def begin_fit(self, run):
            self.losses = []

        def after_step(self, run):
            if run.n_steps in (1, 5):
                before = capture({"mean": average.mean})
                self.losses.append(run.learn.validate()["valid_loss"])
                assert first_difference(before, capture({"mean": average.mean})) is None

    average, asks = Average(), Asks()
    tiny_learner([average, asks]).fit(2)
    alone = []
    for steps in (1, 5):
        average = Average()
        learn = tiny_learner([average])
        learn.fit(steps=steps)
        alone.append(learn.validate()["valid_loss"])
    assert asks.losses == alone
    assert alone[0] != alone[1]


def test_a_callback_that_has_not_begun_begins_in_a_pass_and_is_as_before_then():
    average = Average()
    learn = tiny_learner([average])
    plain = tiny_learner(model=learn.model).validate()
    assert learn.validate() == plain
    assert vars(average) == {}
    other = tiny_learner([average])
    other.fit(1)
    assert learn.validate() == plain  # what it has is of another Learner
    assert average.steps == 4


class Moves(nn.Module):
    """Writes to its buffers in evaluation, too, in each of the ways in which people do it."""

    def __init__(self, way):
        super().__init__()
        self.way, self.layer, self.size = way, nn.Linear(3, 2), 1
        self.register_buffer("count", torch.ones(1))
        self.register_buffer("cache", torch.ones(1), persistent=False)

    def forward(self, x):
        with torch.no_grad():
            if self.way == "in place":
                self.count += 1
            if self.way == "data":
                self.count.data.mul_(2)
            if self.way == "another":
                self.count = self.count + 1
            if self.way == "grows":
                self.size += 1
                self.cache = torch.ones(self.size)
        self.last = x  # what users read after a prediction
        return self.layer(x) * self.count * self.cache.sum()


LOOKS = {
    "validate": lambda learn: learn.validate(),
    "predict": lambda learn: learn.predict(torch.ones(4, 3)),
}


def buffers(learn):
    held = dict(learn.model.named_buffers())
    return held, {name: (b.clone(), b._version >= 0) for name, b in held.items()}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("way", ["in place", "data", "another", "grows"])
def test_buffers_that_move_in_evaluation_are_as_before(way, look):
    learn = tiny_learner(model=Moves(way))
    held, before = buffers(learn)
    first = LOOKS[look](learn)
    assert all(learn.model.get_buffer(name) is buffer for name, buffer in held.items())
    assert first_difference(before, buffers(learn)[1]) is None
    assert learn.model.size == 1
    assert learn.model.last is not None
    assert first_difference(first, LOOKS[look](learn)) is None
    learn.model.eval()(torch.ones(4, 3))  # the control
    assert first_difference(before, buffers(learn)[1])
    assert first_difference(first, LOOKS[look](learn))


@pytest.mark.parametrize("look", LOOKS)
def test_buffers_are_as_before_after_an_error(look):
    model = Moves("in place")
    learn = tiny_learner(model=model)
    model.layer.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LOOKS[look](learn)
    assert model.count.item() == 1


def test_buffers_of_the_loss_function_are_as_before():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, pred, yb):
            self.calls += 1
            return nn.functional.cross_entropy(pred, yb)

    learn = tiny_learner(loss_func=Counts())
    learn.validate()
    assert learn.loss_func.calls.item() == 0


def test_a_look_in_the_middle_of_a_fit_changes_nothing_of_it():
    class Looks(Callback):
        def after_step(self, run):
            run.learn.validate()
            run.learn.predict(torch.ones(4, 3))

    def trained(*callbacks):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            learn = tiny_learner(callbacks, model=Moves("another"))
        return learn.fit(2).model.state_dict()

    assert first_difference(dict(trained()), dict(trained(Looks()))) is None


def test_in_the_validation_of_a_fit_buffers_move_as_in_a_plain_loop():
    learn = tiny_learner(model=Moves("in place"))
    learn.fit(1)
    batches = len(learn.data.train_dl) + len(learn.data.valid_dl)
    rehearsed = 0  # of it nothing is left
    assert learn.model.count.item() == 1 + batches + rehearsed

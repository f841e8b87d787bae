"""Any scheduler of torch, or of its shape, drives a fit as it would a loop of one's own."""

import copy
import math
import warnings
from functools import cache

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint, ParamScheduler, Rewind, TorchScheduler
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

EPOCHS, BATCHES = 4, 5
STEPS = EPOCHS * BATCHES


class Factor:
    """A function with a state, as `LambdaLR` allows."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 0.9**epoch + 0.001 * self.calls


def sequential(opt):
    warm = lr_scheduler.LinearLR(opt, 0.1, total_iters=3)
    falls = lr_scheduler.MultiStepLR(opt, [2, 2, 5], 0.5)
    return lr_scheduler.SequentialLR(opt, [warm, falls], milestones=[3])


def chained(opt):
    parts = [lr_scheduler.ConstantLR(opt, 0.1, 4), lr_scheduler.ExponentialLR(opt, 0.9)]
    return lr_scheduler.ChainedScheduler(parts, opt)


SCHEDULERS = {
    "LambdaLR": lambda opt: lr_scheduler.LambdaLR(opt, lambda epoch: 0.95**epoch),
    "LambdaLR with a state": lambda opt: lr_scheduler.LambdaLR(opt, Factor()),
    "MultiplicativeLR": lambda opt: lr_scheduler.MultiplicativeLR(opt, lambda epoch: 0.95),
    "StepLR": lambda opt: lr_scheduler.StepLR(opt, 3, 0.5),
    "MultiStepLR": lambda opt: lr_scheduler.MultiStepLR(opt, [2, 2, 9], 0.5),
    "ConstantLR": lambda opt: lr_scheduler.ConstantLR(opt, 0.3, 4),
    "LinearLR": lambda opt: lr_scheduler.LinearLR(opt, 0.3, total_iters=8),
    "ExponentialLR": lambda opt: lr_scheduler.ExponentialLR(opt, 0.9),
    "SequentialLR": sequential,
    "PolynomialLR": lambda opt: lr_scheduler.PolynomialLR(opt, 10, power=2.0),
    "CosineAnnealingLR": lambda opt: lr_scheduler.CosineAnnealingLR(opt, 7, 0.01),
    "ChainedScheduler": chained,
    "CyclicLR": lambda opt: lr_scheduler.CyclicLR(opt, 0.01, 0.2, 3, mode="exp_range", gamma=0.9),
    "CosineAnnealingWarmRestarts": lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, 3, 2),
    "OneCycleLR": lambda opt: lr_scheduler.OneCycleLR(opt, 0.3, total_steps=STEPS),
    "SWALR": lambda opt: SWALR(opt, 0.02, anneal_epochs=6),
}
PLATEAU = lambda opt: lr_scheduler.ReduceLROnPlateau(opt, factor=0.3, patience=0, threshold=0.1)  # noqa: E731
OPTIMIZERS = {
    "SGD": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9),
    "Adam": lambda ps: torch.optim.Adam(ps, lr=torch.tensor(0.1)),
    "groups": lambda ps: torch.optim.SGD(
        [{"params": ps[:2], "lr": 0.2}, {"params": ps[2:]}], lr=0.1, momentum=0.8
    ),
}


def parts(make_opt):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    batches = [(torch.randn(6, 3), torch.randint(2, (6,))) for _ in range(BATCHES)]
    return model, make_opt(list(model.parameters())), batches


def rates(opt):
    keys = ("lr", "momentum", "betas")
    return [[copy.deepcopy(g[key]) for key in keys if key in g] for g in opt.param_groups]


class Rates(Callback):
    """Notes what every step uses."""

    state = ()

    def __init__(self):
        self.seen = []

    def step(self, run, proceed):
        self.seen.append(rates(run.opt))
        proceed()


def plain_loop(make_opt, make, every, *, metric=False):
    model, opt, batches = parts(make_opt)
    scheduler, seen = make(opt), []
    for _ in range(EPOCHS):
        for xb, yb in batches:
            nn.functional.cross_entropy(model(xb), yb).backward()
            seen.append(rates(opt))
            opt.step()
            opt.zero_grad()
            if every == "step":
                scheduler.step()
        if every == "epoch":
            with torch.no_grad():
                losses = [nn.functional.cross_entropy(model(xb), yb).double() for xb, yb in batches]
            value = [(sum(loss * 6 for loss in losses) / (6 * BATCHES)).item()] if metric else []
            scheduler.step(*value)
    return [p.detach() for p in model.parameters()], seen


def learner(make_opt, callbacks=(), **kwargs):
    model, opt, batches = parts(make_opt)
    bunch = DataBunch(batches, batches)
    return tiny_learner(callbacks, model=model, opt=opt, data=bunch, **kwargs)


def fit(make_opt, make, every, *callbacks, **kwargs):
    rates = Rates()
    learn = learner(make_opt)
    run = learn.fit(EPOCHS, [TorchScheduler(make, every, **kwargs), rates, *callbacks])
    return [p.detach() for p in learn.model.parameters()], rates.seen, run


@cache
def straight_fit(opt, name, every):
    """Weights, rates and history of a fit that nothing stops: each is made once."""
    column = {"monitor": "valid_loss"} if name not in SCHEDULERS else {}
    weights, seen, run = fit(OPTIMIZERS[opt], SCHEDULERS.get(name, PLATEAU), every, **column)
    return weights, seen, run.history["lr"]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():  # SequentialLR itself steps with a number at a milestone
        warnings.filterwarnings("ignore", message=".*epoch parameter in `scheduler.step")
        yield


def test_every_scheduler_of_torch_is_tried():
    found = {
        name
        for name, kind in vars(lr_scheduler).items()
        if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler) and name[0] != "_"
    }
    tried = {name.split()[0] for name in SCHEDULERS} | {"ReduceLROnPlateau"}
    assert found - {"LRScheduler"} <= tried


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_fit_equals_the_plain_loop_bit_for_bit(name, every, opt):
    weights, seen = plain_loop(OPTIMIZERS[opt], SCHEDULERS[name], every)
    again, used, _ = straight_fit(opt, name, every)
    assert first_difference(weights, again) is None
    assert first_difference(seen, used) is None
    other = "epoch" if every == "step" else "step"
    assert first_difference(seen, straight_fit(opt, name, other)[1]) is not None


@pytest.mark.parametrize("opt", ["SGD", "Adam"])
def test_a_plateau_is_judged_by_the_monitored_column(opt):
    weights, seen = plain_loop(OPTIMIZERS[opt], PLATEAU, "epoch", metric=True)
    again, used, _ = fit(OPTIMIZERS[opt], PLATEAU, "epoch", monitor="valid_loss")
    assert first_difference(weights, again) is None
    assert first_difference(seen, used) is None
    assert first_difference(used[0], used[-1]) is not None


@pytest.mark.parametrize("name", [*SCHEDULERS, "ReduceLROnPlateau"])
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("stop", [3, 5, 13])
def test_a_resumed_fit_goes_on_bit_for_bit(name, every, stop, tmp_path):
    class Stop(Callback):
        replays = False
        state = ()

        def after_step(self, run):
            if run.n_steps == stop:
                run.interrupt("test")

    plateau = name not in SCHEDULERS
    if plateau and every == "step":
        pytest.skip("a plateau is seen at the end of an epoch")
    make = PLATEAU if plateau else SCHEDULERS[name]
    column = {"monitor": "valid_loss"} if plateau else {}
    straight = straight_fit("SGD", name, every)

    def again(*more):
        rates = Rates()
        learn = learner(OPTIMIZERS["SGD"], [Checkpoint(tmp_path, every=f"{EPOCHS + 1} epochs")])
        scheduler = TorchScheduler(make, every, **column)
        run = learn.fit(EPOCHS, [scheduler, rates, *more], resume="auto")
        return [p.detach() for p in learn.model.parameters()], rates.seen, run, learn

    again(Stop())
    weights, seen, run, learn = again()
    assert len(seen) == STEPS - stop
    assert first_difference(straight[1][stop:], seen) is None
    assert first_difference(straight[0], weights) is None
    assert run.history["lr"] == straight[2]
    assert rates(learn.opt) == rates(parts(OPTIMIZERS["SGD"])[1])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_optimizer_is_as_before_when_the_fit_is_over(name):
    learn = learner(OPTIMIZERS["SGD"], [TorchScheduler(SCHEDULERS[name], "step")])
    groups, attributes = copy.deepcopy(learn.opt.param_groups), dict(vars(learn.opt))
    first = learn.fit(EPOCHS).history["lr"]
    assert (
        first_difference(
            [{k: v for k, v in g.items() if k != "params"} for g in groups],
            [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups],
        )
        is None
    )
    assert vars(learn.opt).keys() == attributes.keys()
    if "state" not in name:
        assert learn.fit(EPOCHS).history["lr"] == first


def test_the_history_has_the_rate_and_the_momentum_that_each_step_used():
    _, seen, run = fit(OPTIMIZERS["SGD"], SCHEDULERS["OneCycleLR"], "step")
    assert run.history["lr"] == [lr for [[lr, _]] in seen]
    assert run.history["momentum"] == [momentum for [[_, momentum]] in seen]
    assert "momentum" not in fit(OPTIMIZERS["SGD"], SCHEDULERS["StepLR"], "step")[2].history


def test_a_skipped_step_does_not_move_the_scheduler():
    class Skip(Callback):
        def step(self, run, proceed):
            if run.batch_index % 2:
                proceed()

    learn = learner(OPTIMIZERS["SGD"])
    halve = TorchScheduler(SCHEDULERS["ExponentialLR"], "step")
    run = learn.fit(1, [halve, Skip()])
    assert run.n_steps == 2
    assert run.history["lr"] == pytest.approx([0.1, 0.1, 0.09, 0.09, 0.081])


def test_an_epoch_without_a_step_does_not_move_the_scheduler():
    class Skip(Callback):
        def step(self, run, proceed):
            if run.epoch != 0:
                proceed()

    learn = learner(OPTIMIZERS["SGD"])
    with pytest.warns(UserWarning, match="passed without one optimizer step"):
        run = learn.fit(3, [TorchScheduler(SCHEDULERS["ExponentialLR"], "epoch"), Skip()])
    assert run.history["lr"][::BATCHES] == pytest.approx([0.1, 0.1, 0.09])


def test_an_epoch_without_a_value_is_left_out():
    learn = learner(OPTIMIZERS["SGD"])
    counts = []

    class Counting(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            counts.append(metrics)
            super().step(metrics, epoch)

    run = learn.fit(
        5, [TorchScheduler(Counting, "epoch", monitor="valid_loss")], validate_every="2 epochs"
    )
    assert counts == [v for v in run.history["valid_loss"] if v is not None]
    assert len(counts) == 3


class Wrapped:
    """Hands everything on to the scheduler that it holds, as that of accelerate does."""

    def __init__(self, scheduler):
        self.scheduler = scheduler

    def step(self, *args, **kwargs):
        self.scheduler.step(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(vars(self)["scheduler"], name)


class HandsOn(lr_scheduler.ReduceLROnPlateau):
    def step(self, *args, **kwargs):
        super().step(*args, **kwargs)


class OtherName(lr_scheduler.ReduceLROnPlateau):
    def step(self, val_loss):
        super().step(val_loss)


class OnlyPlaces(lr_scheduler.ReduceLROnPlateau):
    def step(self, *values):
        super().step(values[0])


class Foreign:
    """Derived from nothing, takes anything."""

    def __init__(self, opt):
        self.inner = PLATEAU(opt)

    def step(self, *values):
        self.inner.step(*values)

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


def drops(kind):
    return lambda opt: kind(opt, factor=0.3, patience=0, threshold=0.1)


TAKERS = {
    "wrapped": lambda opt: Wrapped(PLATEAU(opt)),
    "hands on": drops(HandsOn),
    "other name": drops(OtherName),
    "only places": drops(OnlyPlaces),
    "foreign": Foreign,
}


@pytest.mark.parametrize("make", TAKERS.values(), ids=TAKERS)
def test_the_value_reaches_a_scheduler_whatever_its_step_calls_it(make):
    def seen(make):
        run = learner(OPTIMIZERS["SGD"]).fit(
            EPOCHS, [TorchScheduler(make, "epoch", monitor="valid_loss")]
        )
        return run.history["lr"]

    assert seen(make) == seen(PLATEAU)
    assert len(set(seen(PLATEAU))) > 1  # the control: it moves


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (TAKERS["wrapped"], r"Wrapped\.step needs a metric"),
        (TAKERS["hands on"], r"HandsOn\.step needs a metric"),
        (TAKERS["other name"], r'OtherName\.step needs \'val_loss\', .*monitor="valid_loss"'),
    ],
)
def test_without_a_monitor_it_is_refused_before_the_fit_not_after_the_first_epoch(make, text):
    learn = learner(OPTIMIZERS["SGD"])
    with pytest.raises((TypeError, ValueError), match=text):
        learn.fit(1, [TorchScheduler(make, "epoch")])
    assert learn.steps_done == 0


def test_a_wrapper_of_a_scheduler_without_a_metric_takes_none():
    wrapped = lambda opt: Wrapped(SCHEDULERS["StepLR"](opt))  # noqa: E731
    with pytest.raises(ValueError, match=r"Wrapped\.step takes no metric"):
        learner(OPTIMIZERS["SGD"]).fit(1, [TorchScheduler(wrapped, "epoch", monitor="valid_loss")])
    run = learner(OPTIMIZERS["SGD"]).fit(1, [TorchScheduler(wrapped, "step")])
    same = learner(OPTIMIZERS["SGD"]).fit(1, [TorchScheduler(SCHEDULERS["StepLR"], "step")])
    assert run.history["lr"] == same.history["lr"]


def test_one_scheduler_for_each_of_several_optimizers_or_one_by_name():
    def two(ps):
        return {"a": torch.optim.SGD(ps[:2], lr=0.4), "b": torch.optim.SGD(ps[2:], lr=0.2)}

    class Both(Callback):
        def begin_fit(self, run):
            self.seen = []

        def after_backward(self, run):
            self.seen.append([opt.param_groups[0]["lr"] for opt in run.opt.values()])

    def seen(**kwargs):
        learn, both = learner(two), Both()
        learn.rehearsal = False  # what is wrong is said once
        learn.fit(
            1,
            [TorchScheduler(lambda o: lr_scheduler.ExponentialLR(o, 0.5), "step", **kwargs), both],
        )
        return both.seen[:2]

    assert seen() == [[0.4, 0.2], [0.2, 0.1]]
    assert seen(opt="b") == [[0.4, 0.2], [0.4, 0.1]]
    with pytest.raises(ValueError, match=r"opt='c' is no optimizer .* Use one of: a, b"):
        seen(opt="c")
    with pytest.raises(ValueError, match="It has one; leave opt out"):
        learner(OPTIMIZERS["SGD"]).fit(1, [TorchScheduler(SCHEDULERS["StepLR"], "step", opt="a")])


def test_probes_and_rewinds_leave_the_schedule_as_it_was():
    class Probe(Callback):
        state = ()

        def after_batch(self, run):
            if run.training and run.n_steps == 7:
                run.learn.rehearse(3)
                run.learn.validate()

    class Once(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps == 7 and not run.rewinds:
                run.rewind(3)

    def losses(*callbacks):
        learn = learner(OPTIMIZERS["SGD"], [TorchScheduler(SCHEDULERS["OneCycleLR"], "step")])
        run = learn.fit(EPOCHS, callbacks)
        return run.history["loss"], run.history["lr"]

    assert losses() == losses(Probe()) == losses(Rewind(every="1 steps", keep=9), Once())


def test_a_rehearsal_is_driven_and_leaves_no_trace():
    learn = learner(OPTIMIZERS["SGD"], [TorchScheduler(SCHEDULERS["ExponentialLR"], "step")])
    before = capture(learn.state_entries())
    assert learn.rehearse(3).history["lr"] == pytest.approx([0.1, 0.09, 0.081])
    learn.find_lr(steps=10)
    learn.validate()
    assert first_difference(before, capture(learn.state_entries())) is None
    assert "step" not in vars(learn.opt)


@pytest.mark.parametrize("name", ["lr", "momentum"])
def test_a_rival_is_refused(name):
    rival = ParamScheduler(name, sched_lin(0.4, 0.1))
    ours = TorchScheduler(SCHEDULERS["OneCycleLR"], "step")
    for callbacks in ([rival, ours], [ours, rival]):
        learn = learner(OPTIMIZERS["SGD"])
        with pytest.raises(ValueError, match=f"both drive .*{name}"):
            learn.fit(1, callbacks)
        assert learn.opt.param_groups[0]["lr"] == 0.1
        assert learn.opt.param_groups[0]["momentum"] == 0.9


def test_what_only_the_lr_is_driven_by_leaves_momentum_to_others():
    callbacks = [
        TorchScheduler(SCHEDULERS["StepLR"], "step"),
        ParamScheduler("momentum", sched_lin(0.9, 0.5)),
    ]
    run = learner(OPTIMIZERS["SGD"]).fit(1, callbacks)
    assert run.history["momentum"][0] == 0.9
    assert run.history["momentum"][-1] < 0.7


class Timm:
    """What timm's schedulers look like."""

    def __init__(self, opt, *, t_in_epochs, field="lr"):
        self.optimizer, self.t_in_epochs, self.param_group_field = opt, t_in_epochs, field
        self.calls = []

    def _set(self, t, metric):
        self.calls.append([t, metric])
        for group in self.optimizer.param_groups:
            group[self.param_group_field] = 0.5**t

    def step(self, epoch, metric=None):
        if self.t_in_epochs:
            self._set(epoch, metric)

    def step_update(self, num_updates, metric=None):
        if not self.t_in_epochs:
            self._set(num_updates, metric)

    def state_dict(self):
        return {k: v for k, v in vars(self).items() if k != "optimizer"}

    def load_state_dict(self, state):
        vars(self).update(state)


def test_schedulers_that_want_counts_get_them():
    _, seen, _ = fit(OPTIMIZERS["SGD"], lambda o: Timm(o, t_in_epochs=False), "step")
    assert [lr for [[lr, _]] in seen][:3] == [0.1, 0.5, 0.25]
    _, seen, _ = fit(OPTIMIZERS["SGD"], lambda o: Timm(o, t_in_epochs=True), "epoch")
    assert [lr for [[lr, _]] in seen][::BATCHES] == [0.1, 0.5, 0.25, 0.125]
    made = []

    def make(opt):
        made.append(Timm(opt, t_in_epochs=True))
        return made[0]

    _, _, run = fit(OPTIMIZERS["SGD"], make, "epoch", monitor="valid_loss")
    assert made[0].calls == [[i + 1, v] for i, v in enumerate(run.history["valid_loss"])]


def test_another_field_than_lr_is_driven_and_put_back():
    learn = learner(OPTIMIZERS["SGD"])
    make = lambda o: Timm(o, t_in_epochs=False, field="weight_decay")  # noqa: E731
    run = learn.fit(1, [TorchScheduler(make, "step")])
    assert run.history["weight_decay"] == [0.0, 0.5, 0.25, 0.125, 0.0625]
    assert learn.opt.param_groups[0]["weight_decay"] == 0


def test_counts_that_the_scheduler_would_not_hear_are_refused():
    for counted, every, other in ((True, "step", "epoch"), (False, "epoch", "step")):
        with pytest.raises(
            ValueError, match=f"every must be '{other}' for this Timm.*never change"
        ):
            fit(OPTIMIZERS["SGD"], lambda o: Timm(o, t_in_epochs=counted), every)  # noqa: B023


def test_a_scheduler_is_no_function_that_makes_one():
    class Callable(Timm):
        def __call__(self):
            return self

    learn = learner(OPTIMIZERS["SGD"])
    for made in (lr_scheduler.StepLR(learn.opt, 1), Callable(learn.opt, t_in_epochs=True)):
        with pytest.raises(TypeError, match=r"^make must be a function from an optimizer to a sch"):
            TorchScheduler(made, "epoch")
    assert TorchScheduler(lr_scheduler.ReduceLROnPlateau, "epoch", monitor="valid_loss")


class Odd(Timm):
    def step(self, epoch, mood):
        pass


REFUSED = [
    (lambda o: 3, "epoch", {}, TypeError, "make must return a scheduler, .* got 3"),
    (lambda o: lr_scheduler.StepLR, "epoch", {}, TypeError, "make must return a scheduler"),
    (PLATEAU, "epoch", {}, ValueError, "ReduceLROnPlateau.step needs a metric. .*valid_loss"),
    (SCHEDULERS["StepLR"], "epoch", {"monitor": "valid_loss"}, ValueError, "takes no metric"),
    (
        lambda o: Odd(o, t_in_epochs=True),
        "epoch",
        {},
        TypeError,
        "Odd.step needs 'mood', which is no count .*wrap it in a class",
    ),
    (PLATEAU, "epoch", {"monitor": "valid_lost"}, ValueError, "is no column of the history"),
    (
        lambda o: lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0), 1),
        "epoch",
        {},
        ValueError,
        "StepLR of another optimizer",
    ),
]


@pytest.mark.parametrize(("make", "every", "kwargs", "error", "text"), REFUSED)
def test_what_cannot_be_stepped_is_refused_and_nothing_is_changed(make, every, kwargs, error, text):
    learn = learner(OPTIMIZERS["SGD"])
    before = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    with pytest.raises(error, match=text):
        learn.fit(1, [TorchScheduler(make, every, **kwargs)])
    after = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    assert before == after
    assert "step" not in vars(learn.opt)


def test_a_scheduler_whose_constructor_fails_leaves_the_optimizer_as_it_was():
    def make(opt):
        lr_scheduler.OneCycleLR(opt, 0.3, total_steps=20)
        raise ZeroDivisionError

    learn = learner(OPTIMIZERS["SGD"])
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, [TorchScheduler(make, "step")])
    assert rates(learn.opt) == [[0.1, 0.9]]
    assert "initial_lr" not in learn.opt.param_groups[0]


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        ((3, "step"), {}, TypeError, "make must be a function .* got 3"),
        ((PLATEAU, "batch"), {}, ValueError, 'every must be "step" or "epoch"; got \'batch\''),
        ((PLATEAU, "step"), {"monitor": "valid_loss"}, ValueError, 'Write every="epoch"'),
        ((PLATEAU, "epoch"), {"monitor": 3}, TypeError, "monitor must be the name of a column"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(args, kwargs, error, text):
    with pytest.raises(error, match=text):
        TorchScheduler(*args, **kwargs)


def test_it_says_what_it_is():
    assert repr(TorchScheduler(lr_scheduler.LinearLR, "step", opt="a")) == (
        "TorchScheduler(LinearLR, 'step', opt='a')"
    )
    plateau = TorchScheduler(lr_scheduler.ReduceLROnPlateau, "epoch", monitor="valid_loss")
    assert repr(plateau) == "TorchScheduler(ReduceLROnPlateau, 'epoch', monitor='valid_loss')"


class Unfreeze(Callback):
    """Adds a group in the middle of an epoch."""

    state = ()

    def after_step(self, run):
        if run.n_steps == 2:
            run.opt.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.02})


def test_a_group_that_is_added_is_put_back_to_what_it_had():
    learn = learner(OPTIMIZERS["SGD"])
    learn.fit(1, [Unfreeze(), TorchScheduler(SCHEDULERS["StepLR"], "step")])
    assert [group["lr"] for group in learn.opt.param_groups] == [0.1, 0.02]


def test_a_scheduler_that_cannot_take_a_group_along_says_so():
    learn = learner(OPTIMIZERS["SGD"])
    with pytest.raises(ValueError, match="zip") as caught:
        learn.fit(1, [Unfreeze(), TorchScheduler(SCHEDULERS["LambdaLR"], "step")])
    assert any("A parameter group was added after LambdaLR" in n for n in caught.value.__notes__)
    assert not math.isnan(learn.opt.param_groups[0]["lr"])

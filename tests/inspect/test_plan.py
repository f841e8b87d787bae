"""What a plan says is what the fit then does, at every step; and a plan leaves no trace."""

import signal
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR

from lehr import Callback, DataBunch
from lehr.base import signals
from lehr.callbacks import (
    EMA,
    SAM,
    Accumulate,
    Checkpoint,
    ClipGradients,
    EarlyStopping,
    Freeze,
    MixUp,
    ParamScheduler,
    ReduceOnPlateau,
    TorchScheduler,
)
from lehr.schedules import constant, cosine, linear, one_cycle, one_cycle_momentum, warmup
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Happened(Callback):
    """Writes down what a fit does, independently of how a plan is made."""

    state = ()
    replays = False

    def __init__(self, reads):
        self.reads, self.window = reads, 0
        self.epochs, self.batches, self.values, self.validations = [], [], [], []
        self.trained = []

    def backward(self, run, proceed):
        self.window += not run.replaying
        proceed()

    def step(self, run, proceed):
        groups = [group for opt in opts(run.opt) for group in opt.param_groups]
        self.values.append([read(run, groups) for read in self.reads])
        self.epochs.append(run.epoch)
        self.batches.append(self.window)
        self.trained.append(sum(p.numel() for p in run.model.parameters() if p.requires_grad))
        self.window = 0
        proceed()

    def begin_validate(self, run):
        if run.valid_name == run.valid_names[0]:
            self.validations.append(run.n_steps)


def opts(opt):
    return list(opt.values()) if isinstance(opt, dict) else [opt]


def lr(group):
    return lambda run, groups: groups[group]["lr"]


def learner(items=80, groups=1, opt=None, **kwargs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    layers = [{"params": model[i].parameters(), "lr": rate} for i, rate in ((0, 0.1), (2, 1.0))]
    split = layers if groups == 2 else model.parameters()
    return tiny_learner(
        items=items, model=model, opt=(opt or partial(torch.optim.SGD, lr=0.1))(split), **kwargs
    )


def several_optimizers(**kwargs):
    learn = learner()
    opt = {
        "body": torch.optim.SGD(learn.model[0].parameters(), lr=0.1),
        "head": torch.optim.AdamW(learn.model[2].parameters(), lr=0.2),
    }
    return tiny_learner(items=80, model=learn.model, opt=opt, **kwargs)


def two_valids():
    learn = learner()
    loader = learn.data.valid_dl
    return tiny_learner(items=80, data=DataBunch(learn.data.train_dl, {"a": loader, "b": loader}))


def growing():
    learn = learner(items=64)
    learn.data.train_dl.batch_size = 4
    return learn


def no_length():
    learn = learner(items=80)
    batches = list(learn.data.train_dl)
    learn.data = DataBunch(lambda: iter(batches), learn.data.valid_dl)
    return learn


COSINE = warmup(0.2) >> cosine(0.1, 0)
CONFIGURATIONS = {
    "nothing scheduled": (learner, dict(epochs=2), list, {"lr": lr(0)}),
    "one cycle of lr and momentum": (
        learner,
        dict(epochs=3),
        lambda: [
            ParamScheduler("lr", one_cycle(0.5)),
            ParamScheduler("momentum", one_cycle_momentum()),
        ],
        {"lr": lr(0), "momentum": lambda run, groups: groups[0]["momentum"]},
    ),
    "first beta, by steps": (
        lambda: learner(opt=partial(torch.optim.AdamW, lr=0.1)),
        dict(steps=17, validate_every="5 steps"),
        lambda: [ParamScheduler("momentum", one_cycle_momentum())],
        {"lr": lr(0), "momentum": lambda run, groups: groups[0]["betas"][0]},
    ),
    "a path, and validations every second epoch": (
        learner,
        dict(epochs=3, validate_every="2 epochs"),
        lambda: [ParamScheduler("model.1.p", linear(0.5, 0))],
        {"lr": lr(0), "model.1.p": lambda run, groups: run.model[1].p},
    ),
    "groups with factors": (
        lambda: learner(groups=2),
        dict(epochs=2),
        lambda: [ParamScheduler("lr", COSINE.per_group([0.1, 1]))],
        {"lr[0]": lr(0), "lr[1]": lr(1)},
    ),
    "relative, one group apart": (
        lambda: learner(groups=2),
        dict(epochs=2),
        lambda: [
            ParamScheduler("lr", COSINE, group=0),
            ParamScheduler("lr", linear(1, 0), group=1, relative=True),
        ],
        {"lr[0]": lr(0), "lr[1]": lr(1)},
    ),
    "several optimizers": (
        several_optimizers,
        dict(epochs=2),
        lambda: [ParamScheduler("opt.head.lr", COSINE)],
        {"lr[0]": lr(0), "lr[1]": lr(1), "opt.head.lr": lr(1)},
    ),
    "accumulation and checkpoints by steps": (
        learner,
        dict(epochs=2),
        lambda: [Accumulate(3), ParamScheduler("lr", COSINE), "3 steps"],
        {"lr": lr(0)},
    ),
    "accumulation that grows": (
        learner,
        dict(steps=9, validate_every="4 steps"),
        lambda: [
            Accumulate(2),
            ParamScheduler("callbacks.accumulate.batches", linear(1, 5).rounded()),
            "2 epochs",
        ],
        {
            "lr": lr(0),
            "callbacks.accumulate.batches": lambda run, groups: (
                run.callbacks[0].batches
                if isinstance(run.callbacks[0], Accumulate)
                else next(cb for cb in run.callbacks if isinstance(cb, Accumulate)).batches
            ),
        },
    ),
    "a batch size that grows": (
        growing,
        dict(steps=40),
        lambda: [
            ParamScheduler("data.train_dl.batch_size", linear(4, 24).rounded(4)),
            ParamScheduler("lr", COSINE),
            "1 epoch",
        ],
        {
            "lr": lr(0),
            "data.train_dl.batch_size": lambda run, groups: run.data.train_dl.batch_size,
        },
    ),
    "a scheduler of torch's, by step": (
        learner,
        dict(epochs=2),
        lambda: [TorchScheduler(lambda opt: ExponentialLR(opt, 0.9), "step"), "1 epoch"],
        {"lr": lr(0)},
    ),
    "a scheduler of torch's, by epoch": (
        learner,
        dict(epochs=4),
        lambda: [TorchScheduler(lambda opt: StepLR(opt, 2, 0.1), "epoch"), "2 epochs"],
        {"lr": lr(0)},
    ),
    "two validation loaders": (
        two_valids,
        dict(epochs=2, validate_every="3 steps"),
        list,
        {"lr": lr(0)},
    ),
    "a layer that is frozen at first": (
        learner,
        dict(epochs=3),
        lambda: [Freeze("0", 2), ParamScheduler("lr", COSINE)],
        {"lr": lr(0)},
    ),
    "with techniques, one of which is scheduled": (
        learner,
        dict(epochs=2),
        lambda: [
            MixUp(0.4),
            EMA(0.9),
            SAM(0.05),
            ClipGradients(1.0),
            EarlyStopping(patience=9),
            ParamScheduler("callbacks.mix_up.alpha", linear(0.4, 0.1)),
        ],
        {
            "lr": lr(0),
            "callbacks.mix_up.alpha": lambda run, groups: next(
                cb.alpha for cb in run.callbacks if isinstance(cb, MixUp)
            ),
        },
    ),
    "a loader without a length": (
        no_length,
        dict(epochs=2, steps_per_epoch=10),
        lambda: [ParamScheduler("lr", COSINE)],
        {"lr": lr(0)},
    ),
    "no epoch at all": (learner, dict(epochs=0), lambda: ["1 epoch"], {}),
}


def with_folder(callbacks, folder):
    """A text stands for a Checkpoint that keeps all."""
    return [
        Checkpoint(folder, every=cb, keep=1000) if isinstance(cb, str) else cb for cb in callbacks
    ]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_plan_is_what_the_fit_then_does(name, tmp_path):
    make, length, callbacks, reads = CONFIGURATIONS[name]
    learn, attached = make(), with_folder(callbacks(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plan = learn.plan(callbacks=attached, **length)
        assert not list(tmp_path.iterdir())
        happened = Happened(list(reads.values()))
        run = learn.fit(callbacks=[*attached, happened], **length)
    assert plan.steps == run.n_steps
    assert plan.epochs == happened.epochs
    assert plan.batches == happened.batches
    assert plan.trained == happened.trained
    assert plan.validations == happened.validations
    assert list(plan.values) == list(reads)
    for column, (what, values) in enumerate(plan.values.items()):
        assert values == [row[column] for row in happened.values], what
    saved = sorted(int(path.name.split("-")[1].split(".")[0]) for path in tmp_path.glob("step-*"))
    assert sorted(plan.saves) == sorted(set(saved))
    assert bool(saved) is any(isinstance(cb, Checkpoint) for cb in attached)


def test_another_length_is_another_plan():
    """Negative control."""
    driver = [ParamScheduler("lr", COSINE)]
    assert learner().plan(2, driver).values != learner().plan(3, driver).values


def test_a_freeze_is_seen_where_it_changes():
    plan = learner().plan(3, [Freeze("0", 2)])
    assert plan.freezes == {0: "frozen: 0.weight, 0.bias", 20: "frozen: nothing"}
    assert set(plan.trained) == {10, 26}
    assert learner().plan(3).freezes == {}


def test_many_frozen_parameters_are_counted():
    learn = tiny_learner(model=nn.Sequential(*[nn.Linear(3, 3) for _ in range(3)], nn.Linear(3, 2)))
    for p in learn.model[:3].parameters():
        p.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plan = learn.plan(1)
    assert plan.freezes == {0: "frozen: 6 of 8 parameters, 0.weight to 2.bias"}


@pytest.mark.parametrize("error", [None, ZeroDivisionError(), KeyboardInterrupt()])
def test_it_leaves_no_trace_also_when_it_breaks(error):
    class Raise(Callback):
        state = ()
        plans = True

        def begin_batch(self, run):
            if run.n_steps == 5 and error is not None:
                raise error

    torch.manual_seed(3)
    freeze, driver = Freeze("0", 2), ParamScheduler("lr", one_cycle(1.0))
    learn = learner(seed=None, callbacks=[driver, freeze, Raise()])
    loss = learn.model(torch.ones(2, 3)).sum()
    loss.backward()
    before = capture(learn.state_entries())
    generator, attributes = torch.get_rng_state(), {**vars(driver)}
    flags = [p.requires_grad for p in learn.model.parameters()]
    hyper = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    with suppress(ZeroDivisionError, KeyboardInterrupt):
        learn.plan(2)
        assert error is None
    assert torch.equal(generator, torch.get_rng_state())
    assert first_difference(before, capture(learn.state_entries())) is None
    assert hyper == [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    assert vars(driver) == attributes
    assert flags == [p.requires_grad for p in learn.model.parameters()]
    assert (learn.run, learn._seed, learn.epochs_done) == (None, None, 0)


class Press(Callback):
    """Presses Ctrl-C at step 5."""

    plans = True
    state = ()

    def begin_batch(self, run):
        if run.n_steps == 5:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("interactive", [False, True])
def test_ctrl_c_ends_it_without_a_plan_also_at_a_prompt(monkeypatch, interactive):
    monkeypatch.setattr(signals, "is_interactive", lambda: interactive)
    learn = learner()
    before = capture(learn.state_entries())
    with pytest.raises(KeyboardInterrupt):
        learn.plan(2, [Press()])
    assert first_difference(before, capture(learn.state_entries())) is None


def test_ctrl_c_within_a_fit_ends_the_fit_and_leaves_the_plan_whole(monkeypatch):
    monkeypatch.setattr(signals, "is_interactive", lambda: True)
    plans = []

    class Plans(Callback):
        state = ()

        def after_step(self, run):
            plans.append(run.learn.plan(2, [Press()]))

    run = learner().fit(2, callbacks=[Plans()])
    assert (run.interrupted, run.n_steps) == ("interrupted by Ctrl-C", 1)
    assert [plan.steps for plan in plans] == [20]


def test_no_batch_is_read():
    def batches():
        raise AssertionError("read")
        yield

    learn = learner()
    learn.data = DataBunch(batches, batches)
    assert learn.plan(2, steps_per_epoch=7).steps == 14


def test_what_goes_by_measurements_is_said():
    plan = learner().plan(1, [ReduceOnPlateau()])
    assert plan.unforeseen == [repr(ReduceOnPlateau())]
    judged = TorchScheduler(ReduceLROnPlateau, "epoch", monitor="valid_loss")
    assert learner().plan(1, [judged]).unforeseen == [repr(judged)]
    assert learner().plan(1, [ParamScheduler("lr", COSINE)]).unforeseen == []


def test_a_checkpoint_of_a_users_own_is_asked(tmp_path):
    class Saves(Callback):
        state = ()

        def saves_at(self, run, rest):
            return rest.stage == "trained"

    assert learner().plan(2, [Saves()]).saves == [10, 20]
    assert learner().plan(2, [Checkpoint(tmp_path, every="10 minutes")]).saves == [0, 20]


@pytest.mark.parametrize(
    ("length", "callbacks", "message"),
    [
        (dict(epochs=1), lambda: [Accumulate(items=9)], r"Accumulate\(items=9\) does not know"),
        (dict(epochs=-1), list, "epochs must be"),
        (dict(epochs=1), lambda: [ParamScheduler("lr", linear(1, 0)) for _ in "12"], "both drive"),
        (
            dict(epochs=1),
            lambda: [Accumulate(2), ParamScheduler("callbacks.accumulate.batches", constant(2))],
            "run.pos needs the length",
        ),
    ],
)
def test_what_cannot_be_planned(length, callbacks, message):
    with pytest.raises(ValueError, match=message):
        learner().plan(callbacks=callbacks(), **length)


def test_a_loader_without_a_length_cannot_be_planned():
    with pytest.raises(ValueError, match=r"train_dl has no len\(\), .* Give steps_per_epoch="):
        no_length().plan(2)
    with pytest.raises(ValueError, match=r"train_dl has no len\(\)"):
        no_length().plan(steps=2)


def test_it_can_be_asked_for_within_a_fit():
    seen = []

    class Ask(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps == 3:
                seen.append(run.learn.plan(2, [ParamScheduler("lr", COSINE)]))

    learn = learner()
    losses = learn.fit(2, [Ask()]).history["loss"]
    assert losses == learner().fit(2).history["loss"]
    assert seen[0].values == learner().plan(2, [ParamScheduler("lr", COSINE)]).values


def test_saving_does_not_go_by_a_plan_made_before(tmp_path: Path):
    learn, saving = learner(), Checkpoint(tmp_path)
    learn.plan(1, [saving])
    learn.fit(1, [saving])
    assert len(list(tmp_path.glob("step-*"))) == 2

"""A fused step is the eager one, made as one graph; where it cannot be, a line says why.

Most tests take the backend that runs the traced graph operation by operation: it is quick, and
what could go wrong (mutation, recompilation, what is in the graph) is the same.
"""

import copy
import math
import warnings
from contextlib import nullcontext
from functools import partial
from itertools import cycle

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from lehr import Callback, CancelBatch, CancelEpoch, Changes, DataBunch, GraphPart, Learner
from lehr.callbacks import (
    EMA,
    Accumulate,
    Checkpoint,
    ClipGradients,
    CutMix,
    Freeze,
    LabelSmoothing,
    MixedPrecision,
    MixUp,
    ParamScheduler,
)
from lehr.loop.run import Run
from lehr.loop.step.fused import FusedStep
from lehr.loop.step.graphs import Graphs
from lehr.loop.step.layout import Layout
from lehr.optim.functional import Form
from lehr.schedules import one_cycle, one_cycle_momentum, sched_lin
from lehr.testing import tiny_learner
from tests.tier import some

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW = partial(torch.optim.AdamW, lr=0.01)
DECAYING = partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1)


class Kinds(Callback):
    """Notes whether each training step was fused: then there is no gradient after it."""

    replays = False

    def __init__(self):
        self.fused = []

    def after_step(self, run):
        self.fused.append(all(p.grad is None for p in run.model.parameters()))


class StopAt(Callback):
    replays = False

    def __init__(self, at):
        self.at = at

    def after_step(self, run):
        if run.n_steps == self.at:
            run.interrupt("as asked")


class Clock:
    """A stand-in: eager and fused steps, in turns, take so long."""

    def __init__(self, eager, fused):
        self.now, self.steps = 0.0, cycle([0.0, eager, 0.0, fused])

    def __call__(self):
        self.now += next(self.steps)
        return self.now


def net(*more):
    return nn.Sequential(nn.Linear(3, 4), *more, nn.ReLU(), nn.Linear(4, 2))


def learner(compile="eager", opt=SGD, callbacks=(), model=None, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net() if model is None else model()
    return tiny_learner(callbacks, model=model, opt=opt, compile=compile, **kwargs)


def difference(a, b):
    """The largest between two models, buffers included."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return max((x.double() - y.double()).abs().max().item() for x, y in pairs)


def pair(epochs=2, callbacks=tuple, **kwargs):
    """A fused and an eager Learner after a fit, and which steps of the first were fused."""
    kinds = Kinds()
    fused, eager = learner(**kwargs), learner(**{**kwargs, "compile": False})
    fused.fit(epochs, [*callbacks(), kinds])
    eager.fit(epochs, list(callbacks()))
    return fused, eager, kinds.fused


def graphs():
    return counters["stats"]["unique_graphs"]


@pytest.fixture(autouse=True)
def _count_from_zero():
    counters.clear()


@pytest.fixture
def untraced(monkeypatch):
    """Call fused steps as they are written: to trace one takes half a second.

    For tests that make many and see when steps are fused, or what is in a checkpoint.
    """
    monkeypatch.setattr(torch, "compile", lambda step, **how: step)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # else Adam wants a GPU


OPTIMIZERS = {
    "SGD": SGD,
    "AdamW": ADAMW,
    "plain SGD": partial(torch.optim.SGD, lr=0.1),
    "Nesterov": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, dampening=0.0),
    "Adam": partial(torch.optim.Adam, lr=0.01, amsgrad=True, weight_decay=0.01),
    "NAdam": partial(torch.optim.NAdam, lr=0.01),
    "RAdam": partial(torch.optim.RAdam, lr=0.01),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.01, lr_decay=0.1),
    "Adamax": partial(torch.optim.Adamax, lr=0.01),
    "Adadelta": partial(torch.optim.Adadelta, lr=0.5),
    "Rprop": partial(torch.optim.Rprop, lr=0.01),
    "ASGD": partial(torch.optim.ASGD, lr=0.01),
}


@pytest.mark.parametrize("name", some({"SGD", "AdamW", "RMSprop"}, OPTIMIZERS))
def test_it_trains_as_the_eager_step_does_with_a_schedule_and_one_graph(name):
    schedule = lambda: [ParamScheduler("lr", one_cycle(0.05))]  # noqa: E731
    fused, eager, kinds = pair(3, schedule, opt=OPTIMIZERS[name])
    assert difference(fused.model, eager.model) < 1e-6
    losses = [learn.run.history["loss"] for learn in (fused, eager)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert kinds == [False, True, True, True] * 3  # the first of an epoch makes what is missing
    assert graphs() == 1
    other = learner(False, OPTIMIZERS[name])  # the control: a schedule that did nothing
    other.fit(3)
    assert name == "Rprop" or difference(fused.model, other.model) > 1e-3


def muon_and_adamw(model):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    return {
        "muon": torch.optim.Muon(matrices, lr=0.02),
        "adamw": torch.optim.AdamW(others, lr=0.01),
    }


@pytest.mark.slow
def test_muon_trains_as_the_eager_step_does_and_a_schedule_needs_one_graph_more():
    learners = []
    for compile in ("eager", False):
        torch.manual_seed(0)
        model = net()
        learn = tiny_learner(model=model, opt=muon_and_adamw(model), compile=compile)
        learn.fit(3, [ParamScheduler("opt.muon.lr", one_cycle(0.05))])
        learners.append(learn)
    assert difference(learners[0].model, learners[1].model) < 1e-6
    assert graphs() == 2


@pytest.mark.slow
def test_the_states_of_the_optimizer_are_those_of_the_eager_step():
    fused, eager, _ = pair(opt=ADAMW)
    states = [learn.opt.state_dict()["state"] for learn in (fused, eager)]
    for number, state in states[1].items():
        for name, value in state.items():
            assert torch.allclose(states[0][number][name], value, atol=1e-6)
            assert states[0][number][name].dtype == value.dtype


@pytest.mark.slow
def test_a_schedule_of_the_momentum_needs_one_graph_more_at_most():
    schedules = lambda: [ParamScheduler("momentum", one_cycle_momentum(0.95, 0.85))]  # noqa: E731
    for opt, most in ((SGD, 2), (ADAMW, 1)):
        counters.clear()
        fused, eager, kinds = pair(3, schedules, opt=opt)
        assert difference(fused.model, eager.model) < 1e-6
        assert graphs() == most
        assert sum(kinds) == 9


@pytest.mark.slow
@pytest.mark.parametrize("opt", [SGD, ADAMW])
def test_a_schedule_of_the_weight_decay_needs_no_other_graph(opt):
    schedules = lambda: [ParamScheduler("weight_decay", sched_lin(0.5, 0.1))]  # noqa: E731
    fused, eager, kinds = pair(3, schedules, opt=opt)
    assert difference(fused.model, eager.model) < 1e-6
    assert graphs() == 1
    assert sum(kinds) == 9


@pytest.mark.slow
def test_a_number_that_keeps_changing_inside_the_graph_ends_the_fusing():
    schedule = lambda: ParamScheduler("dampening", sched_lin(0.5, 0.0))  # noqa: E731
    learn, kinds = learner(), Kinds()
    with pytest.warns(UserWarning, match="dampening of SGD keeps changing"):
        learn.fit(3, [schedule(), kinds])
    assert graphs() <= 4
    assert kinds.fused[-4:] == [False] * 4
    eager = learner(False)
    eager.fit(3, [schedule()])
    assert difference(learn.model, eager.model) < 1e-6


@pytest.mark.slow
def test_another_fit_needs_no_other_graph():
    learn = learner()
    learn.fit(1)
    learn.fit(1)
    assert graphs() == 1


@pytest.mark.slow
def test_a_checkpoint_of_one_kind_goes_on_as_the_other(tmp_path, untraced):
    def trained(first, second, opt):
        folder = tmp_path / f"{first}{second}{opt.func.__name__}"
        learner(first, opt).fit(2, [Checkpoint(folder), StopAt(6)])
        learn = learner(second, opt)
        learn.fit(2, [Checkpoint(folder)], resume="auto")
        return learn

    straight = learner(False, ADAMW)
    straight.fit(2)
    for first, second in (("eager", False), (False, "eager")):
        learn = trained(first, second, ADAMW)
        assert 0 < difference(learn.model, straight.model) < 1e-6
        assert learn.run.n_steps == 8
    fused = learner("eager", ADAMW)
    fused.fit(2)
    assert difference(trained("eager", "eager", ADAMW).model, fused.model) == 0


@pytest.mark.slow
def test_statistics_of_batch_norm_are_kept_and_dropout_draws_anew_in_every_batch():
    model = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(3, 6, bias=False), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 2)
    )
    fused, eager, kinds = pair(2, model=model)
    assert difference(fused.model, eager.model) < 1e-6  # this backend draws as eager steps do
    assert fused.model[1].num_batches_tracked == 8
    assert sum(kinds) == 6
    again = learner(model=model)
    again.fit(2)
    assert difference(fused.model, again.model) == 0


class Replacing(nn.Module):
    """Has a buffer that forward replaces by another tensor, and one that it changes in place."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        if self.training:
            self.calls = self.calls + 1
            self.mean.lerp_(x.mean(0), 0.1)
        return self.inner(x - self.mean)


@pytest.mark.slow
def test_a_buffer_that_the_model_replaces_is_kept():
    fused, eager, _ = pair(model=Replacing)
    assert difference(fused.model, eager.model) < 1e-6
    assert fused.model.calls == 8


@pytest.mark.slow
def test_a_buffer_that_the_model_replaces_in_an_eager_step_is_kept_too(untraced):
    weights = lambda run: 0 if run.batch_index == 2 else len(run.xb)  # noqa: E731
    fused, eager, kinds = pair(model=Replacing, items=40, weight=weights)
    assert difference(fused.model, eager.model) < 1e-6
    assert fused.model.calls == 10
    assert kinds == [False, True, True, True] * 2


class At(Callback):
    """Does something at the beginning of a training batch."""

    replays = False

    def __init__(self, at, what):
        self.at, self.what = at, what

    def begin_batch(self, run):
        if run.training and run.n_iter in self.at:
            self.what(run)


def warm(run):
    run.model.mean = torch.full((3,), run.n_iter / 10)


def load(run):
    run.opt.load_state_dict(copy.deepcopy(run.opt.state_dict()))


def another_optimizer(run):
    run.opt = torch.optim.AdamW(run.model.parameters(), lr=0.05)


def another_loss(run):
    run.loss_func = partial(nn.functional.cross_entropy, label_smoothing=0.3)


@pytest.mark.parametrize(
    ("what", "at", "kinds"),
    [
        (warm, [1, 2, 6], [False, True, True, True] * 2),
        (load, [2], [False, True, False, True, False, True, True, True]),
        (another_optimizer, [2], [False, True, False, True, False, True, True, True]),
        (another_loss, [2], [False, True, False, True, False, True, True, True]),
    ],
)
def test_what_is_replaced_in_the_midst_of_an_epoch_is_taken_up(what, at, kinds, untraced):
    def callbacks():
        return [At(at, what), ParamScheduler("lr", one_cycle(0.1))]

    fused, eager, seen = pair(2, callbacks, opt=ADAMW, model=Replacing)
    assert difference(fused.model, eager.model) < 1e-5
    assert seen == kinds
    without, *_ = pair(2, lambda: callbacks()[1:], opt=ADAMW, model=Replacing)
    assert difference(without.model, fused.model) > 1e-3 or what is load


def test_an_optimizer_that_is_put_in_the_midst_of_an_epoch_may_be_one_without_a_function(untraced):
    def another(run):
        run.opt = torch.optim.Adafactor(run.model.parameters(), lr=0.1)

    with pytest.warns(UserWarning, match="not fused.*: Adafactor reads numbers"):
        fused, eager, kinds = pair(1, lambda: [At([2], another)])
    assert difference(fused.model, eager.model) < 1e-6
    assert kinds == [False, True, False, False]


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_of_a_parameter_are_called(register):
    def hooked():
        def halve(held):
            if isinstance(held, nn.Parameter):
                held.grad.div_(2)
                return None
            return held / 2

        model = net()
        getattr(model[0].weight, register)(halve)
        return model

    with pytest.warns(UserWarning, match="a parameter or an optimizer has hooks, which watch"):
        fused, eager, kinds = pair(1, model=hooked)
    assert difference(fused.model, eager.model) == 0
    assert difference(fused.model, pair(1)[1].model) > 1e-3
    assert not any(kinds)


def test_a_resumed_run_does_not_train_what_has_no_part_in_the_loss(tmp_path, untraced):
    class Unused(nn.Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.unused = nn.Linear(3, 2)

    decays = partial(torch.optim.SGD, lr=0.1, weight_decay=0.5)
    straight, eager, _ = pair(2, opt=decays, model=Unused)
    learner(opt=decays, model=Unused).fit(2, [Checkpoint(tmp_path), StopAt(2)])
    learn, kinds = learner(opt=decays, model=Unused), Kinds()
    learn.fit(2, [Checkpoint(tmp_path), kinds], resume="auto")
    assert difference(learn.model, straight.model) == 0
    assert difference(learn.model, eager.model) < 1e-6
    assert kinds.fused == [True, True, False, True, True, True]


class Branch(nn.Module):
    """A part of it is called as an attribute says."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.more = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)
        self.calls_more = False

    def forward(self, x):
        hidden = self.body(x).relu()
        return self.head(hidden) + (self.more(hidden) if self.calls_more else 0)


class Calls(Callback):
    """The part is called in some training batches."""

    def __init__(self, when):
        self.when = when

    def begin_batch(self, run):
        run.model.calls_more = run.training and self.when(run.n_iter)


WHEN = {
    "from 3": lambda i: i >= 3,
    "till 1": lambda i: i < 1,
    "from 1": lambda i: i >= 1,
    "till 3": lambda i: i < 3,
    "every third": lambda i: i % 3 == 0,
    "two of five": lambda i: i % 5 < 2,
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("when", some(("from 3", "till 1"), WHEN))
def test_what_an_attribute_brings_in_or_leaves_out_within_an_epoch_is_trained_or_not(when, size):
    fused, eager, kinds = pair(
        3, lambda: [Calls(WHEN[when]), *([Accumulate(size)] if size > 1 else [])], model=Branch
    )
    assert True in kinds
    assert difference(fused.model, eager.model) < 1e-6


class Listed(Branch):
    """The attribute is in a list, as a graph may know it and no plain look at attributes."""

    def __init__(self):
        self.held = [False]
        super().__init__()

    calls_more = property(lambda self: self.held[0], lambda self, on: self.held.__setitem__(0, on))


@pytest.mark.parametrize("when", some(("from 1",), WHEN))
def test_also_what_a_list_decides_from_the_second_batch_on_is_trained(when):
    fused, eager, kinds = pair(3, lambda: [Calls(WHEN[when])], model=Listed)
    assert True in kinds
    assert difference(fused.model, eager.model) < 1e-6


def test_a_batch_that_is_seen_before_its_graph_is_made_is_mixed_once():
    fused, eager, kinds = pair(2, lambda: [Calls(WHEN["every third"]), MixUp()], model=Branch)
    assert True in kinds
    assert difference(fused.model, eager.model) < 1e-6


@pytest.mark.slow
def test_groups_frozen_and_unused_parameters_and_a_short_last_batch():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = net(), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    def groups(parameters):
        first, *others, last = parameters
        last.requires_grad_(False)
        return torch.optim.AdamW(
            [{"params": [first, last], "lr": 0.1}, {"params": others, "weight_decay": 0.3}],
            lr=0.01,
        )

    fused, eager, kinds = pair(2, opt=groups, model=Unused, items=30)
    assert difference(fused.model, eager.model) < 1e-6
    start = learner(False, model=Unused).model.unused
    assert difference(fused.model.unused, start) == 0  # no decay without a gradient
    assert kinds == [False, True, True, False] * 2
    assert graphs() == 1


@pytest.mark.slow
def test_freezing_in_the_course_of_a_fit():
    freeze = lambda: [Freeze({"0": 1})]  # noqa: E731
    fused, eager, kinds = pair(3, freeze)
    assert difference(fused.model, eager.model) < 1e-6
    assert sum(kinds) == 9


@pytest.mark.slow
def test_what_watches_around_the_step_is_called_as_always():
    class Spy(Callback):
        looks_on = True

        def __init__(self):
            self.seen, self.losses = [], []

        def begin_batch(self, run):
            run.xb = run.xb * 2

        def after_loss(self, run):
            self.losses.append(run.loss.item())

        def after_batch(self, run):
            self.seen.append((run.pred.shape, run.weight, run.stepped, run.n_steps))

    spies = Spy(), Spy()
    fused, eager = learner(), learner(False)
    fused.fit(1, [spies[0], EMA(0.9)])
    eager.fit(1, [spies[1], EMA(0.9)])
    assert difference(fused.model, eager.model) < 1e-6
    assert spies[0].seen == spies[1].seen
    assert spies[0].losses == pytest.approx(spies[1].losses, abs=1e-6)
    assert graphs() == 1


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_parts_and_sums(reduction):
    def loss(pred, yb):
        fit = nn.functional.cross_entropy(pred, yb, reduction=reduction)
        return {"fit": fit, "penalty": 0.1 * pred.square().mean()}

    fused, eager, kinds = pair(2, loss_func=loss, reduction=reduction)
    assert difference(fused.model, eager.model) < 1e-6
    assert sum(kinds) == 6
    for name in ("fit", "penalty", "loss"):
        expected = pytest.approx(eager.run.history[name], abs=1e-5)
        assert fused.run.history[name] == expected


@pytest.mark.slow
def test_a_batch_without_weight_makes_no_step():
    weights = lambda run: 0 if run.batch_index == 2 else len(run.xb)  # noqa: E731
    fused, eager, kinds = pair(1, weight=weights)
    assert difference(fused.model, eager.model) < 1e-6
    assert kinds == [False, True, True]


def clipped_by_a_schedule():
    bound = ParamScheduler("callbacks.clip_gradients.max_norm", sched_lin(0.5, 0.01))
    return [ClipGradients(0.5), bound]


EVERY_KIND = {
    "value": (lambda: [ClipGradients(max_value=0.01)], 1),
    "both": (lambda: [ClipGradients(0.05, max_value=0.03, norm_type=math.inf)], 1),
    "scheduled": (clipped_by_a_schedule, 1),
    "averaged": (lambda: [EMA(0.9)], 1),
    "gathered": (lambda: [Accumulate(2)], 2),
    "all": (lambda: [*clipped_by_a_schedule(), Accumulate(3), EMA(0.9)], 2),
}
LATER = [pytest.param(name, marks=pytest.mark.slow) for name in list(EVERY_KIND)[:-1]]


@pytest.mark.parametrize("name", ["all", *LATER])
def test_what_callbacks_do_within_the_step_is_in_the_graph(name):
    callbacks, most = EVERY_KIND[name]
    fused, eager, kinds = pair(3, callbacks, opt=ADAMW, items=76)
    assert difference(fused.model, eager.model) < 1e-6
    assert sum(kinds) >= 6
    assert graphs() == most
    ours, theirs = fused.run.history, eager.run.history
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    if "grad_norm" in theirs:
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], abs=1e-5)
    other = learner(False, ADAMW, items=76)  # the control: callbacks that did nothing
    other.fit(3)
    assert difference(fused.model, other.model) > 1e-3


@pytest.mark.slow
def test_the_average_in_the_graph_is_that_of_the_eager_step_buffers_included(untraced):
    model = lambda: nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))  # noqa: E731
    averages = []
    for compile in ("eager", False):
        ema, kinds = EMA(0.9, keep=False), Kinds()
        learn = learner(compile, model=model)
        learn.fit(2, [ema, kinds])
        averages.append(ema.average)
    assert kinds.fused == [False] * 8
    assert averages[0].count == averages[1].count == 8
    for name, average in averages[1].tensors.items():
        assert torch.allclose(averages[0].tensors[name], average, atol=1e-6)
        assert averages[0].tensors[name].dtype == average.dtype
    weights = dict(learn.model.named_parameters())
    assert not torch.allclose(averages[0].tensors["0.weight"], weights["0.weight"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_batches_of_a_window_weigh_what_they_hold(reduction, untraced):
    weights = lambda run: 0 if run.batch_index == 5 else 1 + run.batch_index  # noqa: E731
    loss = nn.CrossEntropyLoss(reduction=reduction)
    fused, eager, _ = pair(
        2,
        lambda: [Accumulate(2)],
        items=72,
        weight=weights,
        reduction=reduction,
        loss_func=loss,
        opt=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
    )
    assert difference(fused.model, eager.model) < 1e-6


@pytest.mark.slow
def test_a_window_may_have_batches_of_both_kinds_and_be_cut_short():
    class Cancels(Callback):
        def begin_batch(self, run):
            if run.training and run.batch_index == 7:
                raise CancelBatch

    # Batches of 8, the last of 4; windows of 2: the last one is gathered in the graph, and closed
    # by an eager step, once by a short batch and once after a cancelled one.
    for items, callbacks in ((60, []), (64, [Cancels()])):
        fused, eager, kinds = pair(2, lambda: [Accumulate(2), *callbacks], items=items)  # noqa: B023
        assert difference(fused.model, eager.model) < 1e-6
        assert kinds == [False, True, True, False] * 2
        assert graphs() == 2
        counters.clear()


@pytest.mark.slow
def test_a_fit_with_callbacks_in_the_graph_goes_on_as_either_kind(tmp_path, untraced):
    def fit(compile, *others, resume=None):
        learn, ema = learner(compile, ADAMW, items=64), EMA(0.9)
        callbacks = [ema, ClipGradients(0.1), Accumulate(2), *others]
        learn.fit(2, callbacks, resume=resume)
        return learn, ema

    straight, average = fit(False)
    for first, second in (("eager", False), (False, "eager"), ("eager", "eager")):
        folder = tmp_path / f"{first}{second}"
        fit(first, Checkpoint(folder), StopAt(6))
        learn, ema = fit(second, Checkpoint(folder), resume="auto")
        assert difference(learn.model, straight.model) < 1e-6
        assert ema.average.count == average.average.count == 8
    fused, _ = fit("eager")
    assert difference(learn.model, fused.model) == 0


OF_EVERY_BATCH = {
    "LabelSmoothing": lambda: [LabelSmoothing(0.2)],
    "MixUp": lambda: [MixUp(0.4)],
    "bf16": lambda: [MixedPrecision("bf16")],
    "all, in a window": lambda: [
        *(MixUp(), LabelSmoothing(), MixedPrecision("bf16"), Accumulate(2), ClipGradients(0.1)),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", OF_EVERY_BATCH.values(), ids=OF_EVERY_BATCH)
def test_prediction_and_loss_may_be_those_of_callbacks(callbacks):
    fused, eager, kinds = pair(3, callbacks)
    assert difference(fused.model, eager.model) < 1e-6
    other = learner(False)  # the control: callbacks that did nothing
    other.fit(3)
    assert difference(fused.model, other.model) > 1e-4
    assert fused.run.history["loss"] == pytest.approx(eager.run.history["loss"], abs=1e-6)
    assert any(kinds)
    assert graphs() <= 2


class Took(Callback):
    """Notes of each training batch whether it was fused, and whether it made a step."""

    state = ()
    replays = False

    def begin_fit(self, run):
        self.batches = []

    def after_batch(self, run):
        if run.training:
            fused = all(p.grad is None for p in run.model.parameters())
            self.batches.append((fused, run.stepped))


FLOAT16 = {
    "by itself": lambda: [MixedPrecision("fp16", init_scale=2.0**13, growth_every=1)],
    "averaged, clipped": lambda: [
        *(MixedPrecision("fp16", init_scale=2.0**13, growth_every=1), ClipGradients(0.1)),
        EMA(0.9, keep=False),
    ],
    "in a window": lambda: [
        *(MixedPrecision("fp16", init_scale=2.0**12, growth_every=1), Accumulate(2))
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", FLOAT16.values(), ids=FLOAT16)
def test_a_step_whose_gradient_overflows_is_none_in_the_graph_too(callbacks):
    """The scale doubles after each step until one overflows, and again."""
    learners, averages, took = [], [], Took()
    for compile, more in (("eager", [took]), (False, [])):
        learn, used = learner(compile, ADAMW, items=64), callbacks()
        learn.fit(3, [*used, *more])
        learners.append(learn)
        averages += [one.average for one in used if isinstance(one, EMA)]
    fused, eager = learners
    assert difference(fused.model, eager.model) < 1e-6
    assert fused.run.history["loss_scale"] == eager.run.history["loss_scale"]
    assert fused.run.n_steps == eager.run.n_steps
    assert {(True, True), (True, False)} <= set(took.batches)
    if averages:
        assert averages[0].count == averages[1].count == fused.run.n_steps
        torch.testing.assert_close(*(average.tensors for average in averages))


@pytest.mark.slow
def test_images_may_be_composed_in_the_graph():
    data = [(torch.randn(8, 1, 4, 4), torch.arange(8) % 2) for _ in range(4)]
    models = []
    for compile in ("eager", False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        cross_entropy, bunch = nn.functional.cross_entropy, DataBunch(data)
        learn = Learner(model, opt, cross_entropy, bunch, progress=False, compile=compile)
        learn.fit(2, [CutMix()])
        models.append(model)
    assert difference(*models) < 1e-6
    assert graphs() == 1


@pytest.mark.slow
def test_mixed_parts_of_a_loss_are_means_in_the_graph_too():
    def parts(pred, yb):
        wanted = nn.functional.one_hot(yb, 2)
        return {"fit": (pred - wanted).square().mean(), "size": pred.abs().mean()}

    fused, eager, _ = pair(2, lambda: [MixUp()], loss_func=parts)
    assert difference(fused.model, eager.model) < 1e-6
    for name in ("fit", "size"):
        found, expected = (learn.run.history[name] for learn in (fused, eager))
        assert found == pytest.approx(expected, abs=1e-6)


def test_mixed_items_without_a_target_are_an_error_in_the_graph_too():
    learn = learner(loss_func=lambda pred: pred.square().mean())
    with pytest.raises(TypeError, match="it gets the output alone"):
        learn.fit(1, [MixUp()])


def scaled(grads, tensors, numbers, *, by):
    norm = sum(grad.square().sum() for grad in grads.values()).sqrt()
    new = {name: grad * by * numbers["share"] for name, grad in grads.items()}
    return Changes(new, {"calls": tensors["calls"] + 1}, {"norm": norm})


class Scales(Callback):
    """A callback of one's own, with a function for the graph."""

    in_graph = ("finish_grad",)
    by = 2.0

    def begin_fit(self, run):
        self.calls, self.times = torch.zeros(()), 0

    def finish_grad(self, run, proceed):
        for p in run.trained_parameters():
            p.grad *= self.by * self.share(run)
        self.calls += 1
        self.times += 1
        proceed()

    def share(self, run):
        return 1 / (1 + run.n_steps)

    def graph_part(self, method, run):
        def done():
            self.times += 1

        return GraphPart(
            scaled, {"calls": self.calls}, {"share": self.share(run)}, {"by": self.by}, done
        )


@pytest.mark.slow
def test_a_callback_of_ones_own_may_be_in_the_graph():
    mine, theirs = Scales(), Scales()
    fused, eager = learner(), learner(False)
    fused.fit(2, [mine, ClipGradients(1.0)])
    eager.fit(2, [theirs, ClipGradients(1.0)])
    assert difference(fused.model, eager.model) < 1e-6
    assert mine.calls == theirs.calls == 8
    assert mine.times == theirs.times == 8
    assert len(fused.run.history["norm"]) == 6  # only the function logs it
    assert graphs() == 1


@pytest.mark.slow
def test_what_the_graph_holds_of_a_callback_may_change_a_few_times():
    class Changing(Scales):
        @property
        def by(self):
            return 1.0 + self.times

    learn = learner()
    with pytest.warns(UserWarning, match="which Changing.graph_part returns as fixed for"):
        learn.fit(3, [Changing()])
    eager = learner(False)
    eager.fit(3, [Changing()])
    assert difference(learn.model, eager.model) < 1e-6


@pytest.mark.slow
def test_an_average_after_a_callback_that_may_change_weights_is_not_in_the_graph(untraced):
    class Halves(Callback):
        before = ("EMA",)

        def after_step(self, run):
            with torch.no_grad():
                for p in run.model.parameters():
                    p.mul_(0.9)

    emas = EMA(0.9, keep=False), EMA(0.9, keep=False)
    fused, eager = learner(), learner(False)
    fused.fit(1, [emas[0], Halves()])
    eager.fit(1, [emas[1], Halves()])
    for name, average in emas[1].average.tensors.items():
        assert torch.allclose(emas[0].average.tensors[name], average, atol=1e-6)


def test_a_window_that_changes_its_end_after_the_prediction_is_told():
    class Late(Callback):
        batches_per_step = 2
        looks_on = True

        def after_loss(self, run):
            run.closes = run.batch_index % 2 == 1

    with pytest.raises(RuntimeError, match=r"run\.closes was changed after the prediction"):
        learner(opt=partial(torch.optim.SGD, lr=0.1)).fit(1, [Late()])


class CancelsLate(Callback):
    looks_on = True
    replays = False

    def __init__(self, event, cancel, windows=1):
        self.event, self.cancel, self.batches_per_step = event, cancel, windows

    def begin_batch(self, run):
        run.closes = (run.batch_index + 1) % self.batches_per_step == 0

    def after_loss(self, run):
        self._cancel("after_loss", run)

    def after_backward(self, run):
        self._cancel("after_backward", run)

    def after_step(self, run):
        self._cancel("after_step", run)

    def _cancel(self, event, run):
        if run.training and event == self.event and run.batch_index >= 2:
            raise self.cancel


@pytest.mark.parametrize(
    ("event", "cancel", "windows"),
    [
        ("after_loss", CancelBatch, 1),
        ("after_loss", CancelBatch, 2),
        ("after_loss", CancelEpoch, 1),
        ("after_loss", CancelEpoch, 2),
        ("after_backward", CancelEpoch, 1),  # in a window of two, it drops what was gathered
    ],
)
def test_a_cancel_of_a_step_that_is_made_already_is_told(event, cancel, windows, untraced):
    with pytest.raises(RuntimeError, match="that looks on has cancelled the batch after the pred"):
        learner(items=64).fit(2, [CancelsLate(event, cancel, windows)])


def test_a_cancel_once_the_gradient_would_be_there_is_told(untraced):
    with pytest.raises(RuntimeError, match="that looks on has cancelled the batch after the pred"):
        learner().fit(1, [CancelsLate("after_backward", CancelBatch)])


@pytest.mark.slow
@pytest.mark.parametrize("cancel", [CancelBatch, CancelEpoch])
def test_a_cancel_after_the_step_is_none_of_it(cancel, untraced):
    fused, eager, kinds = pair(2, lambda: [CancelsLate("after_step", cancel)])
    assert difference(fused.model, eager.model) < 1e-6
    assert any(kinds)


class Wraps(Callback):
    def finish_grad(self, run, proceed):
        proceed()


def test_a_learner_that_cannot_fuse_says_why_and_trains_as_without():
    fused, eager = learner(callbacks=[Wraps()]), learner(False, callbacks=[Wraps()])
    with pytest.warns(UserWarning, match="not fused.*: Wraps wraps finish_grad; leave it out"):
        fused.fit(1)
    eager.fit(1)
    assert difference(fused.model, eager.model) == 0
    assert graphs() == 0


class Disables(nn.Linear):
    @torch.compiler.disable
    def forward(self, x):
        return super().forward(x)


class Decides(nn.Linear):
    def forward(self, x):
        return super().forward(x * (1 if x.sum() > 0 else 2))


class Keeps(nn.Linear):
    """Keeps what it has computed in an attribute."""

    def forward(self, x):
        self.kept = super().forward(x)
        return self.kept


class Recomputes(nn.Linear):
    """Keeps nothing for its gradient, and computes it anew."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


class Compiles(nn.Module):
    """Has a part that it has compiled by itself, and the same part as it was."""

    def __init__(self, *sizes):
        super().__init__()
        self.part = nn.Sequential(nn.Linear(*sizes))
        self.compiled = torch.compile(self.part, backend="eager")

    def forward(self, x):
        return self.part(x)


class Repeats(nn.Module):
    """Has a layer under two names."""

    def __init__(self, *sizes):
        super().__init__()
        self.first = self.second = nn.Linear(*sizes)

    def forward(self, x):
        return self.first(x) + self.second(-x) * 2


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Compiles, "the part 'compiled' of the model is inside a OptimizedModule; put the part"),
        (Repeats, "'first' and 'second' are the same module, and have its parameters twice; keep"),
        (Disables, "cannot make one graph of it"),
        (Decides, r"decides by the value of a tensor, which a graph cannot; compute both and"),
        (Keeps, "keeps a tensor of the step in an attribute, which cannot"),
        (Recomputes, r"recomputes or moves what it keeps for its gradient, as torch\.utils"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.jit, within torch
def test_a_model_that_cannot_be_traced_trains_as_without(kind, said):
    model = lambda: kind(3, 2)  # noqa: E731
    fused, eager = learner("aot_eager", model=model), learner(False, model=model)
    with pytest.warns(UserWarning, match=said):
        fused.fit(1)
    eager.fit(1)
    assert difference(fused.model, eager.model) == 0


def test_a_model_that_returns_more_than_tensors_trains_as_without():
    class Output(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x), "cache": None}

    learn = learner(
        model=lambda: Output(3, 2),
        loss_func=lambda out, yb: nn.functional.cross_entropy(out["logits"], yb),
    )
    with pytest.warns(UserWarning, match="the model returns .* let it return tensors, alone or in"):
        learn.fit(1)
    assert learn.run.n_steps == 4


@pytest.mark.slow
def test_hooks_that_come_in_the_course_of_a_fit_are_called():
    calls = []

    class Hooks(Callback):
        def begin_batch(self, run):
            if run.training and run.n_iter == 2:
                run.model.register_forward_hook(lambda *_: calls.append(run.n_iter))

    with pytest.warns(UserWarning, match="has hooks"):
        learner().fit(1, [Hooks()])
    assert calls[:2] == [2, 3]


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def fails(*args):
        raise TorchDynamoException("InvalidCxxCompiler: No working C++ compiler found")

    learn = learner()
    fails.made_for = lambda given: fails
    monkeypatch.setattr(learn.graphs, "of", lambda *args, **kwargs: fails)
    with pytest.warns(UserWarning, match=r"needs a C\+\+ compiler, and there is none; install"):
        learn.fit(1)
    assert learn.run.n_steps == 4


def test_what_keeps_changing_within_the_model_ends_the_fusing(monkeypatch):
    from torch._dynamo.exc import FailOnRecompileLimitHit

    def fails(*args):
        raise FailOnRecompileLimitHit("Hard failure due to fullgraph=True")

    learn = learner()
    fails.made_for = lambda given: fails
    monkeypatch.setattr(learn.graphs, "of", lambda *args, **kwargs: fails)
    with pytest.warns(UserWarning, match="an attribute of the model or of the loss function. Let"):
        learn.fit(1)
    assert learn.run.n_steps == 4


def test_an_error_of_the_step_itself_is_raised():
    learn = learner()

    def fails(*args):
        raise RuntimeError("mine")

    fails.made_for = lambda given: fails
    learn.graphs.of = lambda *args, **kwargs: fails
    with pytest.raises(RuntimeError, match="mine"):
        learn.fit(1)


class Mislabels(Callback):
    def begin_batch(self, run):
        run.yb = run.yb + 2 * (run.batch_index == 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.jit, within torch
def test_a_label_that_no_class_has_is_told_as_without():
    learn = learner("inductor")
    with pytest.raises(IndexError, match="is out of bounds") as error:
        learn.fit(1, [Mislabels()])
    assert "labels must lie in 0 to 1" in "".join(error.value.__notes__)
    assert "epoch 0, training batch 2" in "".join(error.value.__notes__)


def test_an_index_that_only_the_graph_finds_wrong_is_told():
    learn = learner()

    def fails(*args):
        raise RuntimeError("index out of bounds: 0 <= tmp8 < 3L")

    fails.made_for = lambda given: fails
    learn.graphs.of = lambda *args, **kwargs: fails
    with pytest.raises(RuntimeError, match="tmp8"):
        learn.fit(1)


@pytest.mark.slow
def test_validations_and_rehearsals_leave_everything_as_it_was():
    learn = learner()
    learn.fit(1)
    before = copy.deepcopy(learn.model)
    learn.find_lr(steps=10)
    learn.validate()
    assert difference(learn.model, before) == 0
    assert graphs() == 1


@pytest.mark.slow
def test_several_optimizers_step_in_one_graph():
    def two(parameters):
        first, *others = parameters
        return {"a": torch.optim.SGD([first], lr=0.1), "b": torch.optim.AdamW(others, lr=0.01)}

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, x):
            return self.inner(x)

    learners = []
    for compile in ("eager", False):
        torch.manual_seed(0)
        model = Both()
        learn = tiny_learner(model=model, opt=two(model.parameters()), compile=compile)
        learn.fit(2)
        learners.append(learn)
    assert difference(learners[0].model, learners[1].model) < 1e-6
    assert graphs() == 1


@pytest.mark.slow
def test_batches_of_another_size_are_stepped_eagerly_and_that_is_said():
    x, y = torch.randn(40, 3), torch.randint(2, (40,))
    sizes = [8, 4, 8, 4, 8]
    batches = list(zip(x.split([*sizes, 8]), y.split([*sizes, 8]), strict=True))
    learn, kinds = learner(data=DataBunch(batches, None)), Kinds()
    with pytest.warns(UserWarning, match="another size than the first of the epoch are not fused"):
        learn.fit(1, [kinds])
    assert kinds.fused == [False, False, True, False, True, True]


def timed(eager, fused, *args, **kwargs):
    """A Learner that has to choose, by a clock by which steps take so long."""
    learn = learner(*args, **kwargs)
    learn.graphs = Graphs("eager", measures=True, clock=Clock(eager, fused))
    return learn


@pytest.mark.parametrize("fused", [2.0, 0.5])
def test_the_faster_kind_of_step_is_taken_and_nothing_else_is_changed(fused):
    def callbacks():
        return [EMA(0.9), ClipGradients(0.3)]

    dropout = lambda: net(nn.Dropout(0.5))  # noqa: E731
    learn, kinds = timed(1.0, fused, opt=ADAMW, model=dropout), Kinds()
    slower = fused > 1
    said = "the eager step is the faster one .*against.*; compile=.always. takes the fused one"
    with pytest.warns(UserWarning, match=said) if slower else nullcontext():
        learn.fit(2, [*callbacks(), kinds])
    assert kinds.fused == ([False] * 8 if slower else [False, True, True, True] * 2)
    same = learner(False if slower else "eager", opt=ADAMW, model=dropout)
    same.fit(2, callbacks())
    assert difference(learn.model, same.model) == 0
    for name in ("loss", "grad_norm"):
        assert torch.equal(
            torch.tensor(learn.run.history[name]), torch.tensor(same.run.history[name])
        )
    text = learn.explain(callbacks())
    assert ("the steps not fused: the eager step is" in text) is slower
    assert ("fit, the fused step is the faster one" in text) is not slower
    before = learn.graphs.verdict.clock.now
    learn.fit(1, callbacks())  # without a word, and without another measurement
    assert learn.graphs.verdict.clock.now == before
    assert graphs() == (1 if slower else 2)  # of two Learners


@pytest.mark.slow
def test_a_resumed_run_has_the_choice_of_the_one_that_was_stopped(tmp_path, untraced):
    def fit(fused, *others, resume=None):
        learn, kinds = timed(1.0, fused, opt=ADAMW), Kinds()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            learn.fit(2, [kinds, *others], resume=resume)
        return learn, kinds.fused

    for first, second in ((0.5, 2.0), (2.0, 0.5)):
        straight, kinds = fit(first)
        folder = tmp_path / str(first)
        fit(first, Checkpoint(folder), StopAt(2))
        learn, later = fit(second, Checkpoint(folder), resume="auto")
        assert difference(learn.model, straight.model) == 0
        assert later == kinds[2:]
        assert learn.graphs.verdict.clock.now == 0
    eager = learner(False, ADAMW)  # one that has nothing to choose goes on from it, and the reverse
    eager.fit(2, [Checkpoint(folder)], resume="auto")
    learner(False, ADAMW).fit(2, [Checkpoint(tmp_path / "eager"), StopAt(2)])
    learn, later = fit(0.5, Checkpoint(tmp_path / "eager"), resume="auto")
    assert difference(learn.model, eager.model) < 1e-6
    assert any(later)


@pytest.mark.parametrize("at", [5, 6, 7])
def test_a_run_that_is_resumed_fuses_the_same_batches(tmp_path, untraced, at):
    """Also where it goes on with the last batch of an epoch, or behind one of another size."""
    ragged = [(torch.randn(n, 3), torch.arange(n) % 2) for n in (8, 8, 5, 8)]

    def fit(*others, resume=None):
        learn, kinds = learner("eager", ADAMW, data=DataBunch(ragged, ragged[:1])), Kinds()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the one of another size
            learn.fit(2, [kinds, *others], resume=resume)
        return learn.model, kinds.fused

    straight, kinds = fit()
    assert kinds == [False, True, False, True] * 2
    fit(Checkpoint(tmp_path), StopAt(at))
    resumed, later = fit(Checkpoint(tmp_path), resume="auto")
    assert later == kinds[at:]
    assert difference(resumed, straight) == 0


@pytest.mark.slow
def test_of_a_window_the_batches_that_gather_are_timed(untraced):
    learn, kinds = timed(1.0, 0.5, opt=ADAMW, items=64), Kinds()
    learn.fit(2, [Accumulate(2), kinds])
    assert kinds.fused == [False, True, True, True] * 2
    same = learner("eager", ADAMW, items=64)
    same.fit(2, [Accumulate(2)])
    assert difference(learn.model, same.model) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.jit, within torch
def test_an_eager_step_that_reads_counts_on_a_device_is_not_what_is_timed(untraced, monkeypatch):
    did, eager_step, bring = [], FusedStep._eager_step, Layout._bring_counts
    monkeypatch.setattr(Graphs, "captures_on", lambda self, device: True)
    monkeypatch.setattr(
        FusedStep, "_eager_step", lambda self, place: (did.append("eager"), eager_step(self, place))
    )
    monkeypatch.setattr(Layout, "_bring_counts", lambda self: (did.append("to it"), bring(self)))
    learn = timed(1.0, 0.5, opt=ADAMW)
    learn.fit(1)
    assert did[:10] == ["eager"] * 10  # one that shows what is trained, two to warm up, seven
    assert set(did[10:]) == {"to it"}
    assert learn.graphs.verdict.seconds is not None


@pytest.mark.slow
def test_where_nothing_is_fused_any_more_the_optimizer_counts_on_the_cpu(untraced, monkeypatch):
    learn, devices = learner(opt=ADAMW), []
    learn.fit(1)
    monkeypatch.setattr(Form, "bring_counts", lambda self, state, device: devices.append(device))
    with pytest.warns(UserWarning, match="not fused"):
        learn.fit(1, [Wraps()])
    assert devices == [torch.device("cpu")] * 4  # parameters


@pytest.mark.slow
def test_what_was_put_in_the_models_place_for_a_fit_is_not_timed(untraced):
    class Swaps(Callback):
        def begin_fit(self, run):
            run.loss_func = nn.CrossEntropyLoss(label_smoothing=0.1)

    learn, kinds = timed(1.0, 2.0), Kinds()
    learn.fit(1, [Swaps(), kinds])
    assert sum(kinds.fused) == 3
    assert learn.graphs.verdict.fused is None


def test_who_wants_to_know_is_told_when_a_step_is_compiled():
    told = []

    class Listens(Callback):
        def begin_fit(self, run):
            run.notices.append(lambda what: told.append((what, run.n_iter)))

    learn = learner()
    learn.fit(1, [Listens()])
    learn.fit(1, [Listens()])
    assert told == [("compiling the training step", 1)]


def test_that_an_epoch_of_one_batch_is_not_fused_is_said_once():
    with pytest.warns(UserWarning, match="and this epoch has no other") as said:
        learner(batch_size=64).fit(2)
    assert len(said) == 1


def test_a_learner_without_it_has_the_eager_step():
    assert learner(False).graphs is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, _, kinds = pair(1, compile=False)
    assert kinds == [False] * 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.jit, within torch
@pytest.mark.parametrize("opt", [ADAMW, DECAYING])
def test_the_default_backend_trains_as_the_eager_step_does(opt):
    fused, eager, kinds = pair(2, opt=opt, compile="always")
    assert difference(fused.model, eager.model) < 1e-6
    assert sum(kinds) == 6


def test_actions_are_those_of_the_eager_step_where_nothing_can_be_fused():
    learn = learner()
    plan = learn.planned(learn.data)
    with pytest.warns(UserWarning, match="not fused"):
        step = FusedStep(Run(learn, plan, [Wraps()]))
    assert step.actions()["step"].__self__ is not step
    fusing = FusedStep(Run(learn, plan, []))
    assert fusing.actions()["step"].__self__ is fusing

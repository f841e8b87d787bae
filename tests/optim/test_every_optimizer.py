"""Every optimizer of torch trains as in a plain loop, is probed without a trace, and resumes."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn, optim

from lehr import Callback
from lehr.callbacks import Checkpoint
from lehr.errors import ResumeWarning
from lehr.state.differences import first_difference
from lehr.state.entries import ModelState
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def two_by_name(params):
    """One for the first parameter, one for the others."""
    return {"first": optim.Adam(params[:1], lr=0.1), "last": optim.Adam(params[1:], lr=0.01)}


OPTIMIZERS = {
    "adadelta": partial(optim.Adadelta, lr=1.0),
    "adafactor": partial(optim.Adafactor, lr=0.1),
    "adagrad": partial(optim.Adagrad, lr=0.1, lr_decay=0.1),
    "adam": partial(optim.Adam, lr=0.01, amsgrad=True),
    "adam, foreach": partial(optim.Adam, lr=0.01, foreach=True),
    "adam, fused": partial(optim.Adam, lr=0.01, fused=True),
    "adam, its lr a tensor": lambda params: optim.Adam(params, lr=torch.tensor(0.01)),
    "adamax": partial(optim.Adamax, lr=0.01),
    "adamw": partial(optim.AdamW, lr=0.01),
    "asgd": partial(optim.ASGD, lr=0.1, t0=3),
    "lbfgs": partial(optim.LBFGS, lr=0.1, max_iter=3, line_search_fn="strong_wolfe"),
    "nadam": partial(optim.NAdam, lr=0.01),
    "radam": partial(optim.RAdam, lr=0.1),
    "rmsprop": partial(optim.RMSprop, lr=0.01, momentum=0.9, centered=True),
    "rprop": partial(optim.Rprop, lr=0.01),
    "sgd": partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "sgd, groups of different rates": lambda params: optim.SGD(
        [{"params": [p], "lr": 0.1 / (i + 1)} for i, p in enumerate(params)], momentum=0.9
    ),
    "sgd, fused": partial(optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "sparse_adam": partial(optim.SparseAdam, lr=0.1),
    "two by name": lambda params: two_by_name(list(params)),
}
if hasattr(optim, "Muon"):
    OPTIMIZERS["muon"] = partial(optim.Muon, lr=0.1)


class Closure(Callback):
    """Gives the optimizer what computes loss and gradients once more."""

    regrads = True

    def step(self, run, proceed):
        run.opt.step(run.regrad)
        run.stepped = True


class Embedded(nn.Module):
    """Its gradient is sparse."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(2, 2, sparse=True)

    def forward(self, x):
        return self.embedding((x > 0).long())


def learner(name):
    torch.manual_seed(0)
    bias = name != "muon"
    model = Embedded() if name == "sparse_adam" else None
    model = model or nn.Sequential(nn.Linear(3, 4, bias), nn.Tanh(), nn.Linear(4, 2, bias))
    callbacks = [Closure()] if name == "lbfgs" else []
    return tiny_learner(callbacks, model=model, opt=OPTIMIZERS[name])


def end_of(learn):
    opts = learn.opt if isinstance(learn.opt, dict) else {"opt": learn.opt}
    return capture({"model": ModelState(learn.model), **opts})


def trained_by_hand(name, epochs=2):
    learn = learner(name)
    model, opts = learn.model, [learn.opt]
    if isinstance(learn.opt, dict):
        opts = list(learn.opt.values())
    for epoch in range(epochs):
        for xb, yb in learn.data.train_dl.batches(learn.seed, epoch):

            def closure(xb=xb, yb=yb):
                model.zero_grad()
                loss = nn.functional.cross_entropy(model(xb), yb)
                loss.backward()
                return loss

            closure()
            for opt in opts:
                opt.step(closure) if name == "lbfgs" else opt.step()
    return end_of(learn)


def test_no_optimizer_of_torch_is_left_out():
    every = {kind for kind in vars(optim).values() if isinstance(kind, type)}
    every = {kind for kind in every if issubclass(kind, optim.Optimizer)} - {optim.Optimizer}
    made = [learner(name).opt for name in OPTIMIZERS]
    assert {type(opt) for opt in made} - {dict} == every


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_equals_the_plain_loop_bit_for_bit(name):
    learn = learner(name)
    learn.fit(1)
    half = end_of(learn)
    learn.fit(1)
    by_hand = trained_by_hand(name)
    assert first_difference(by_hand, end_of(learn)) is None
    assert first_difference(by_hand, half)


@pytest.mark.parametrize("how", ["probe", "find_lr", "summary", "audit"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_probe_puts_it_back_bit_for_bit_and_training_goes_on(name, how):
    learn, straight = learner(name), learner(name)
    learn.fit(1)
    straight.fit(1)
    before = capture(learn.state_entries())
    if how == "probe":
        with learn.probe():
            learn.fit(1)
            assert first_difference(before, capture(learn.state_entries()))
    elif how == "find_lr":
        assert len(learn.find_lr(1e-4, 0.1, steps=10).lrs) == 10
    else:
        getattr(learn, how)()
    assert first_difference(before, capture(learn.state_entries())) is None
    learn.fit(1)
    straight.fit(1)
    assert first_difference(end_of(straight), end_of(learn)) is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_fit_ends_in_the_same_bits(name, tmp_path):
    straight = learner(name)
    straight.fit(2)
    learner(name).fit(1, [Checkpoint(tmp_path)])
    resumed = learner(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResumeWarning)  # where a callback of ours is there
        resumed.fit(2, [Checkpoint(tmp_path)], resume="auto")
    assert first_difference(end_of(straight), end_of(resumed)) is None
    fresh = learner(name)
    fresh.fit(1)
    assert first_difference(end_of(fresh), end_of(resumed))


class SharpnessAware(optim.SGD):
    """Climbs, takes the gradient there, goes back, and descends."""

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is not None, "this optimizer requires a closure"
        params = [p for group in self.param_groups for p in group["params"]]
        before = [p.clone() for p in params]
        for p in params:
            p.add_(p.grad, alpha=0.05)
        with torch.enable_grad():
            closure()
        for p, old in zip(params, before, strict=True):
            p.copy_(old)
        super().step()


@pytest.mark.parametrize("kind", [optim.LBFGS, SharpnessAware])
def test_a_rate_is_found_for_an_optimizer_with_a_closure_as_it_trains(kind):
    learn = tiny_learner([Closure()], opt=partial(kind, lr=0.1))
    before = capture(learn.state_entries())
    curve = learn.find_lr(1e-3, 1.0, steps=12)
    assert first_difference(before, capture(learn.state_entries())) is None
    plain = tiny_learner(opt=partial(optim.SGD, lr=0.1)).find_lr(1e-3, 1.0, steps=12)
    assert curve.lrs == plain.lrs
    assert curve.losses[0] == plain.losses[0]
    assert curve.losses[-1] != plain.losses[-1]


@pytest.mark.parametrize("kind", [optim.LBFGS, SharpnessAware])
@pytest.mark.parametrize("how", ["fit", "find_lr"])
def test_an_optimizer_that_is_given_no_closure_is_an_error_that_says_what_to_write(kind, how):
    learn = tiny_learner(opt=partial(kind, lr=0.1))
    before = copy.deepcopy(learn.model.state_dict())
    with pytest.raises((TypeError, AssertionError), match="closure") as caught:
        learn.fit(1) if how == "fit" else learn.find_lr()
    assert "In step, epoch 0, training batch 0" in caught.value.__notes__[0]
    assert "Attach lehr.callbacks.Closure()." in caught.value.__notes__[1]
    assert first_difference(before, learn.model.state_dict()) is None

"""Random models, in which something raises somewhere: the error is the user's, the model is whole.

Forwards, hooks of all kinds, and parametrizations raise in a fit, a look or LSUV.
"""

import random
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import lehr.init
from lehr import Learner
from tests.tier import count

from . import figures
from .world import changed, data_of, numbers_of, seed_all, settings_of, shape_of, surroundings


class Planted(Exception):
    """The user's own."""


class Fuse:
    """Raises when it is passed for the n-th time."""

    def __init__(self) -> None:
        self.passed, self.at, self.error = 0, None, Planted("planted")

    def burn(self):
        self.passed += 1
        if self.passed == self.at:
            raise self.error

    def __deepcopy__(self, memo):
        return self  # a copy of a model has the user's fuses


class Fused(nn.Module):
    def __init__(self, fuse, inner):
        super().__init__()
        self.fuse, self.inner = fuse, inner

    def forward(self, x):
        self.fuse.burn()
        return self.inner(x)


class Half(nn.Module):
    """A parametrization."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def forward(self, weight):
        self.fuse.burn()
        return weight / 2


def leaf(draw):
    kinds = (
        lambda: nn.Linear(3, 3),
        lambda: nn.BatchNorm1d(3),
        lambda: nn.LayerNorm(3),
        lambda: nn.Dropout(0.3),
        nn.ReLU,
    )
    return draw.choice(kinds)()


def tree(draw, fuse, depth=0):
    if depth == 3 or draw.random() < 0.3:
        found = leaf(draw)
    else:
        parts = [tree(draw, fuse, depth + 1) for _ in range(draw.randint(1, 3))]
        found = nn.Sequential(*parts)
    return Fused(fuse, found) if draw.random() < 0.2 else found


class Hook:
    """A hook of the user's; a copy of the model has the same one."""

    def __init__(self, fuse):
        self.fuse = fuse

    def __call__(self, *args):
        self.fuse.burn()

    def __deepcopy__(self, memo):
        return self


def model_of(seed):
    """A random tree with a Linear at its end, some fuses, and any modes and flags."""
    draw, fuse = random.Random(seed), Fuse()
    seed_all()
    model = nn.Sequential(tree(draw, fuse), tree(draw, fuse), nn.Linear(3, 2))
    for module in model.modules():
        if draw.random() < 0.2:
            register = draw.choice(
                (
                    module.register_forward_hook,
                    module.register_forward_pre_hook,
                    module.register_full_backward_hook,
                )
            )
            register(Hook(fuse))
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and draw.random() < 0.3:
            parametrize.register_parametrization(module, "weight", Half(fuse))
    for module in model.modules():
        module.training = draw.random() < 0.5
    for p in list(model.parameters())[:-2]:
        p.requires_grad_(draw.random() < 0.8)
    fuse.passed = 0  # a parametrization is tried when it is registered
    return model, fuse


def draws():
    return torch.Generator().manual_seed(1)


def inputs():
    return torch.randn(8, 3, generator=draws())


def learner(model):
    opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    return Learner(model, opt, nn.functional.cross_entropy, data_of(), progress=False, seed=3)


OPERATIONS = {
    "fit": lambda learn: learn.fit(1),
    "validate": lambda learn: learn.validate(),
    "predict": lambda learn: learn.predict(torch.zeros(5, 3)),
    "rehearse": lambda learn: learn.rehearse(2),
    "find_lr": lambda learn: learn.find_lr(steps=10),
    "summary": lambda learn: learn.summary(),
    "audit": lambda learn: learn.audit(),
    "lsuv": lambda learn: lehr.init.lsuv(learn.model, inputs(), generator=draws()),
}
MOVES = ("fit", "lsuv")


def passes(seed, name):
    """How often the fuses are passed where nothing raises, and what the library itself says."""
    model, fuse = model_of(seed)
    try:
        OPERATIONS[name](learner(model))
    except Exception as error:  # a random model need not be one that can be looked at
        return fuse.passed, type(error)
    return fuse.passed, None


def wrong_after(seed, name):
    """What is not as before when a fuse burned; None if the model has none that is passed."""
    passed, refused = passes(seed, name)
    if not passed or refused is not None:
        return None
    model, fuse = model_of(seed)
    learn = learner(model)
    fuse.at = random.Random(seed).randint(1, passed)

    def look():
        numbers = {} if name in MOVES else numbers_of(model)
        return {**shape_of(model), **settings_of(learn.opt), **numbers, **surroundings()}

    before, raised = look(), None
    try:
        OPERATIONS[name](learn)
    except BaseException as error:
        raised = error
    wrong = [] if raised is fuse.error else [f"{raised!r} instead"]
    raised = fuse.error = None
    return wrong + changed(before, look())


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_raises_in_a_model_comes_out_and_leaves_it_whole(name):
    trials, wrong = 0, {}
    for seed in range(count(30)):
        found = wrong_after(seed, name)
        trials += found is not None
        if found:
            wrong[seed] = found
    row = {"models": trials, "broken": len(wrong)}
    figures.keep("faults_trees", name, row, OPERATIONS)
    assert not wrong, "\n".join(f"{seed}: {what}" for seed, what in wrong.items())
    assert trials >= 3


def test_to_initialise_a_model_runs_nothing_of_it():
    passed = 0
    for seed in range(30):
        model, fuse = model_of(seed)
        with suppress(ValueError):  # of a model that has no layer to draw
            lehr.init.initialise(model, generator=draws())
        assert fuse.passed == 0
        learner(model).predict(inputs())
        passed += fuse.passed
    assert passed  # a prediction does


def test_a_hook_that_is_left_would_be_seen(monkeypatch):
    def careless(learn):
        learn.model[2].register_forward_hook(print)
        learn.validate()

    monkeypatch.setitem(OPERATIONS, "validate", careless)
    found = [wrong_after(seed, "validate") for seed in range(10)]
    assert any(what == ["_forward_hooks 2"] for what in found)

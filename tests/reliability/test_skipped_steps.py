"""A step that is skipped advances nothing: the run goes on as if its window had been cancelled."""

import random

import pytest
import torch
from torch import nn

from lehr import Callback, CancelBatch
from lehr.callbacks import EMA, Accumulate, ClipGradients, MixedPrecision, ParamScheduler
from lehr.schedules import one_cycle
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner
from tests.tier import count

from ..faults.figures import Tally

TALLY = Tally("skipped_steps", "skips", "advanced", of=count(20))
OPTIMIZERS = (torch.optim.AdamW, torch.optim.NAdam, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9))


class Overflow(Callback):
    """Makes the gradient of some windows infinite, or cancels them, and looks before and after."""

    state = ()

    def __init__(self, windows, *, cancel=False):
        self.windows, self.cancel = windows, cancel
        self.seen, self.changed, self.skipped = None, [], 0

    def begin_fit(self, run):
        self.window = 0

    def look(self, run):
        entries = run.state_entries()
        names = [name for name in entries if name in ("model", "opt", "callbacks.ema")]
        looked = capture({name: entries[name] for name in names})
        groups = [{k: v for k, v in g.items() if k != "params"} for g in run.opt.param_groups]
        return {**looked, "hyper": groups, "steps": run.n_steps, "pos": run.pos}

    def begin_batch(self, run):
        if run.training and not run.window.batches:
            self.seen = self.look(run)

    def after_backward(self, run):
        if self.window in self.windows and run.closes:
            if self.cancel:
                raise CancelBatch
            next(run.model.parameters()).grad[0] = torch.inf

    def after_batch(self, run):
        if run.training and not run.window.batches:
            if self.window in self.windows and not self.cancel:
                assert not run.stepped
                self.skipped += 1
                if (change := first_difference(self.seen, self.look(run))) is not None:
                    self.changed.append(change)
            self.window += 1


def trained(number, *, cancel=False, windows=None):
    draw = random.Random(number)
    every, opt = draw.choice((1, 1, 2, 3)), draw.choice(OPTIMIZERS)
    chosen = sorted(draw.sample(range(8), draw.randint(1, 3)))
    with torch.random.fork_rng():
        torch.manual_seed(number)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
    overflow = Overflow(chosen if windows is None else windows, cancel=cancel)
    usual = [MixedPrecision("fp16", init_scale=2.0**10), EMA(0.9), ClipGradients(1.0)]
    usual += [ParamScheduler("lr", one_cycle(0.1)), *([Accumulate(every)] if every > 1 else [])]
    learn = tiny_learner([*usual, overflow], model=model, opt=opt, items=64)
    run = learn.fit(3)
    losses = run.history["loss"]
    entries = run.state_entries()
    made = capture({name: entries[name] for name in ("model", "callbacks.ema")})
    numbers = {path: value for part in made.values() for path, value in tensors(part)}
    return {**numbers, "losses": torch.tensor(losses), "steps": torch.tensor(run.n_steps)}, overflow


def tensors(part, path=""):
    """Every tensor of a state, with its path."""
    if isinstance(part, torch.Tensor):
        return [(path, part)]
    inner = part.items() if isinstance(part, dict) else ()
    return [found for key, value in inner for found in tensors(value, f"{path}.{key}")]


def apart(one, other):
    """What differs; a scale that was halved may lose the smallest of numbers."""
    assert one.keys() == other.keys()
    near = {"rtol": 0.0, "atol": 1e-6}
    return [path for path in one if not torch.allclose(one[path], other[path], **near)]


@pytest.mark.filterwarnings("ignore:.*passed without one optimizer step")
@pytest.mark.parametrize("number", range(TALLY.of))
def test_nothing_advances_and_the_next_window_begins_anew(number):
    skipping, overflow = trained(number)
    cancelling, _ = trained(number, cancel=True)
    other = apart(skipping, cancelling)
    TALLY.add(good=not overflow.changed and not other, windows=overflow.skipped)
    assert overflow.skipped == len(overflow.windows)
    assert overflow.changed == []
    assert other == []


def test_a_step_that_was_made_after_all_would_be_seen():
    assert apart(trained(0)[0], trained(0, windows=[])[0])

    class Advances(Callback):
        state = ()

        def after_batch(self, run):
            if run.training and not run.stepped:
                run.n_steps += 1

    overflow = Overflow([1])
    usual = [MixedPrecision("fp16", init_scale=2.0**10), EMA(0.9), Advances(), overflow]
    tiny_learner(usual, items=64).fit(1)
    assert overflow.changed == ["steps: 1 against 2"]

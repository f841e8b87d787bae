"""Any two callbacks that come with lehr: whatever their order, the run is the same, also resumed.

In the large tier all pairs are tried, and as many triples; else a sample of the pairs.
"""

import random
from itertools import combinations

import pytest
import torch

import lehr.callbacks.log.step_log
import lehr.callbacks.measure.recorder
from lehr import Callback
from lehr.callbacks import Checkpoint
from lehr.optim.optimizers import by_name
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing.contract import surroundings
from tests.faults.figures import Tally
from tests.tier import NIGHTLY

from .test_callbacks import ALL, ARGUMENTS, learner

pytestmark = [
    pytest.mark.filterwarnings("ignore:batches are cut into micro-batches"),  # on purpose
    pytest.mark.filterwarnings("ignore:SWA.* has added no weights"),  # of two steps, fp16 skips one
]
OURS = [kind for kind in ALL if kind is not Checkpoint]  # one is attached to each of these runs
PAIRS = list(combinations(OURS, 2))
TRIPLES = random.Random(0).sample(list(combinations(OURS, 3)), len(PAIRS))
SETS = PAIRS + TRIPLES if NIGHTLY else random.Random(1).sample(PAIRS, 40)
TALLY = Tally("callback_sets", "sets", "disturbed", of=len(SETS))


class Interrupt(Callback):
    """Asks the run to end after so many training batches, or never."""

    state = ()
    replays = False

    def __init__(self, at):
        self.at = at

    def after_batch(self, run):
        if run.training and run.n_iter == self.at:
            run.interrupt("test")


def end(kinds, folder, *, stop=-1, arguments=None):
    """What a run with such callbacks ends in, or the words by which it is refused."""
    torch.manual_seed(0)  # for a teacher among them
    arguments = arguments or [ARGUMENTS.get(kind.__name__, tuple)() for kind in kinds]
    made = [kind(*given) for kind, given in zip(kinds, arguments, strict=True)]
    learn = learner(*made, Checkpoint(folder), Interrupt(stop))
    before = surroundings(learn)
    try:
        run = learn.fit(2, resume="auto")
    except (ValueError, TypeError) as error:
        return {"refused": str(error).partition(". ")[0]}, arguments
    entries = capture({"model": learn.model, **by_name(learn.opt)})
    after = surroundings(learn)
    left = first_difference({**before, "hyper": 0}, {**after, "hyper": 0})
    losses = run.history["loss"], run.history["valid_loss"]
    return {**entries, "losses": losses, "batches": run.n_iter, "left": left}, arguments


def disturbed(kinds, folder):
    """What differs: in another order, or if the run is stopped and goes on; None if nothing."""
    straight, _ = end(kinds, folder / "straight")
    other, _ = end(kinds[::-1], folder / "other")
    if "refused" in straight:
        return None if "refused" in other else "refused in one order alone"
    if straight["left"] is not None:
        return f"left: {straight['left']}"
    if (change := first_difference(straight, other)) is not None:
        return f"in another order: {change}"
    stopped, arguments = end(kinds, folder / "stopped", stop=3)
    resumed, _ = end(kinds, folder / "stopped", arguments=arguments)
    change = first_difference(straight, resumed)
    if stopped["batches"] == straight["batches"]:
        return "it was not stopped"
    return None if change is None else f"resumed: {change}"


@pytest.fixture(autouse=True)
def clock_that_stands_still(monkeypatch):
    monkeypatch.setattr(lehr.callbacks.measure.recorder, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(lehr.callbacks.log.step_log, "monotonic", lambda: 0.0)


@pytest.mark.filterwarnings("ignore:epoch 0 passed without")  # fp16 begins with too large a scale
@pytest.mark.parametrize("kinds", SETS, ids=lambda kinds: "-".join(k.__name__ for k in kinds))
def test_they_do_not_disturb_each_other(tmp_path, kinds):
    found = disturbed(kinds, tmp_path)
    TALLY.add(good=found is None)
    assert found is None


class First(Callback):
    """Doubles the rate after the second step; without state, so that it forgets."""

    state = ()

    def begin_fit(self, run):
        self.steps = 0

    def after_step(self, run):
        self.steps += 1
        if self.steps == 2:
            run.opt.param_groups[0]["lr"] *= 2


class Last(Callback):
    """Sets the rate to a number, if it is larger."""

    state = ()

    def after_step(self, run):
        group = run.opt.param_groups[0]
        group["lr"] = min(group["lr"], 0.15)


def test_those_that_disturb_each_other_are_found(tmp_path):
    assert disturbed((First, Last), tmp_path / "a").startswith("in another order: ")

    class Forgets(First):
        def after_step(self, run):
            self.steps += 1
            if self.steps == 4:
                run.opt.param_groups[0]["lr"] *= 2

    assert disturbed((Forgets, Nothing), tmp_path / "b").startswith("resumed: ")


class Nothing(Callback):
    """Does nothing."""

    state = ()

    def after_fit(self, run):
        pass

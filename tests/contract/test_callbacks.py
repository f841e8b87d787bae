"""Every callback that comes with lehr, found by discovery, keeps the same promises."""

import importlib
import inspect
import pkgutil
import random
import tempfile
from contextlib import suppress
from itertools import count

import pytest
import torch
from torch import nn

import lehr.callbacks
from lehr import Callback, CancelBatch, CancelEpoch, CancelFit, accuracy
from lehr.callbacks import Checkpoint
from lehr.events import ACTIONS, EVENTS
from lehr.loop.check import METHODS, check
from lehr.loop.order import in_layers, in_phases
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

FOLDER = tempfile.TemporaryDirectory()
LOGS = count()


def new_log() -> tuple[str]:
    return (f"{FOLDER.name}/{next(LOGS)}",)


ARGUMENTS = {
    "Accumulate": lambda: (2,),
    "ClipGradients": lambda: (0.1,),
    "MixedPrecision": lambda: ("fp16",),
    "CSVLog": new_log,
    "Checkpoint": new_log,
    "JSONLLog": new_log,
    "Metrics": lambda: ([accuracy],),
    "ParamScheduler": lambda: ("lr", sched_lin(0.2, 0.0)),
    "Progress": lambda: ("plain",),
    "TorchScheduler": lambda: (lambda opt: torch.optim.lr_scheduler.StepLR(opt, 3, 0.5), "step"),
}


def discovered() -> list[type[Callback]]:
    found = {}
    for module in pkgutil.walk_packages(lehr.callbacks.__path__, "lehr.callbacks."):
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(kind, Callback) and kind.__module__ == module.name:
                found[name] = kind
    return list(found.values())


ALL = discovered()


def make(kind: type[Callback]) -> Callback:
    return kind(*ARGUMENTS.get(kind.__name__, tuple)())


def learner(*callbacks: Callback):
    torch.manual_seed(0)
    model = Net(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return tiny_learner(callbacks, model=model, opt=opt, split_batch=as_image)


class Net(nn.Sequential):
    """Takes images."""

    def forward(self, x):
        return super().forward(x.flatten(1))


def as_image(batch):
    """The numbers of each item as a picture, so that there is something to cut."""
    return batch[0][:, None, :, None], batch[1]


def surroundings(learn) -> dict:
    """What no callback may leave changed: modes, flags, random state, hyper-parameters, hooks."""
    entries = learn.state_entries()
    found = capture({name: entries[name] for name in ("modes", "random", "gradients")})
    groups = learn.opt.param_groups
    found["hyper"] = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    found["hooks"] = [
        len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks)
        for m in learn.model.modules()
    ]
    return found


def test_something_is_discovered():
    names = {kind.__name__ for kind in ALL}
    assert names >= {"Recorder", "Metrics", "Progress", "ParamScheduler", "Predictions"}


@pytest.mark.parametrize("kind", ALL)
def test_it_can_be_attached_and_explains_itself(kind):
    check(make(kind))
    assert "Example:" in kind.__doc__
    defined = [name for name in METHODS if name in vars(kind)]
    assert defined, "it would never be called"
    for name in defined:
        assert vars(kind)[name].__doc__, f"{kind.__name__}.{name} has no docstring"


@pytest.mark.parametrize("kind", ALL)
def test_it_serves_two_fits_alike(kind):
    callback = make(kind)
    learn = learner(callback)
    with learn.probe():
        first = learn.fit(2).history
    second = learn.fit(2).history
    assert first["loss"] == second["loss"]
    assert first["valid_loss"] == second["valid_loss"]


@pytest.mark.parametrize("kind", ALL)
def test_it_leaves_everything_clean_after_success(kind):
    learn = learner(make(kind))
    before = surroundings(learn)
    learn.fit(2)
    assert first_difference(before, surroundings(learn)) is None


ENDINGS = [ZeroDivisionError, CancelBatch, CancelEpoch, CancelFit]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("moment", [*EVENTS, *ACTIONS])
def test_it_leaves_everything_clean_however_the_fit_ends(kind, ending, moment):
    class End(Callback):
        state = ()
        left = 1

        def _end(self, run, proceed=lambda: None):
            End.left -= 1  # also where a copy of it takes part
            if End.left == 0:
                raise ending
            proceed()

    setattr(End, moment, End._end)
    learn = learner(make(kind), End())
    learn.rehearsal = False
    before = surroundings(learn)
    with suppress(ZeroDivisionError, RuntimeError):  # a misplaced cancel is a RuntimeError
        learn.fit(2)
    assert first_difference(before, surroundings(learn)) is None
    learn.fit(1)


@pytest.mark.parametrize("kind", ALL)
def test_its_state_round_trips_and_foreign_state_is_refused(kind):
    used, fresh = make(kind), make(kind)
    learner(used).fit(1)
    state = capture({"it": used})["it"]
    assert set(state) <= set(kind.state)
    fresh.load_state_dict(state)
    assert first_difference(state, capture({"it": fresh})["it"]) is None
    with pytest.raises(KeyError, match="has no state named 'unknown'"):
        fresh.load_state_dict({"unknown": 1})


@pytest.mark.parametrize("kind", ALL)
def test_it_says_itself_what_its_state_is(kind):
    assert "state" in vars(kind)


class Watch(Callback):
    """Writes down the state of a callback at every rest, and interrupts the run after a step."""

    state = ()
    replays = False

    def __init__(self, callback: Callback, stop: int = -1):
        self.callback, self.stop, self.seen = callback, stop, {}

    def begin_fit(self, run):
        run.at_rest(self.look)

    def look(self, run, rest):
        state = capture({"it": self.callback})["it"]
        for held in (
            state,
            *(kept["snapshot"]["callbacks.checkpoint"] for kept in state.get("kept", ())),
        ):
            held.pop("run_id", None)  # whose checkpoints these are
        self.seen[run.n_steps, rest.stage] = state

    def after_step(self, run):
        if run.n_steps == self.stop:
            run.interrupt("test")


@pytest.mark.parametrize("stop", [3, 4, 6])
@pytest.mark.parametrize("kind", ALL)
def test_its_state_is_that_of_a_run_that_never_stopped(kind, stop, tmp_path, monkeypatch):
    monkeypatch.setattr(lehr.callbacks.measure.recorder, "perf_counter", lambda: 0.0)

    def watched(arguments, folder, stop=-1):
        callback = kind(*arguments)
        saver = [] if kind is Checkpoint else [Checkpoint(folder)]
        watch = Watch(callback, stop)
        learner(callback, *saver, watch).fit(3, validate_every="3 steps", resume="auto")
        return watch.seen

    own = ARGUMENTS.get(kind.__name__, tuple)
    straight = watched(own(), tmp_path / "straight")
    arguments = own()
    watched(arguments, tmp_path / "stopped", stop)
    resumed = watched(arguments, tmp_path / "stopped")
    assert resumed.keys() < straight.keys()
    assert len(resumed) > 2
    assert first_difference({place: straight[place] for place in resumed}, resumed) is None
    moved = (
        first_difference(
            straight[0, "epoch"], resumed[max(place for place in resumed if place[1] == "epoch")]
        )
        is not None
    )
    assert moved is (kind.__name__ in CHANGE_IN_A_FIT)


def lies(callback: Callback) -> str | None:
    """What a callback does not do again when it is made anew and given the state it declares."""
    check = learner(callback).check_resume(epochs=2, batches=3)
    return next((found for found in [check.repeats, *check.points.values()] if found), None)


class Liar(Callback):
    """Lowers lr at every third step, and says that nothing of it must survive a stop."""

    state: tuple[str, ...] = ()

    def begin_fit(self, run):
        self.steps = 0

    def after_step(self, run):
        self.steps += 1
        if self.steps % 3 == 0:
            run.opt.param_groups[0]["lr"] *= 0.5


class Honest(Liar):
    state = ("steps",)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.replays])
def test_what_it_declares_is_all_that_it_needs(kind):
    assert lies(make(kind)) is None


def test_one_that_lies_about_its_state_is_found():
    assert lies(Liar()) is not None
    assert lies(Honest()) is None


CHANGE_IN_A_FIT = {
    "ActivationStats",
    "GradientStats",
    "CSVLog",
    "EMA",
    "EarlyStopping",
    "JSONLLog",
    "Lookahead",
    "MixedPrecision",
    "OptimizerModes",
    "Progress",
    "Recorder",
    "ReduceOnPlateau",
    "Rewind",
    "TorchScheduler",
}


CHANGES_TRAINING_ON_PURPOSE = {
    "Accumulate",
    "ClipGradients",
    "CutMix",
    "LabelSmoothing",
    "Lookahead",
    "MixUp",
    "MixedPrecision",
    "ParamScheduler",
    "ReduceOnPlateau",
    "Rewind",
    "SAM",
    "TorchScheduler",
}


@pytest.mark.parametrize("kind", [k for k in ALL if k.__name__ not in CHANGES_TRAINING_ON_PURPOSE])
def test_it_does_not_move_the_random_streams_or_the_order_of_the_data(kind):
    with_it, without = learner(make(kind)), learner()
    assert with_it.fit(2).history["loss"] == without.fit(2).history["loss"]


def test_the_order_of_the_list_does_not_matter_among_ours():
    callbacks = [make(kind) for kind in ALL]
    phases, layers = in_phases(callbacks), in_layers(callbacks)
    shuffle = random.Random(0).sample
    for order in [callbacks[::-1], *(shuffle(callbacks, len(callbacks)) for _ in range(500))]:
        assert in_phases(order) == phases
        assert in_layers(order) == layers


def test_the_order_of_the_list_decides_among_a_users_own():
    class A(Callback): ...

    class B(Callback): ...

    a, b = A(), B()
    assert in_phases([b, a]) == [b, a]
    assert in_phases([a, b]) == [a, b]

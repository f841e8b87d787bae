"""Every callback that comes with lehr, found by discovery, keeps the same promises."""

import importlib
import importlib.util
import inspect
import pkgutil
import random
import tempfile
from functools import cache, partial
from itertools import count

import pytest
import torch
from torch import nn

import lehr.callbacks
from lehr import Callback, accuracy
from lehr.callbacks import GAN, Checkpoint, LossWeights, OptimizerModes, Rewind
from lehr.events import ACTIONS, EVENTS
from lehr.loop.check import METHODS, check
from lehr.loop.order import in_layers, in_phases
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import contract, tiny_learner
from tests.callbacks.averaging.test_optimizer_modes import Wrapped
from tests.tier import NIGHTLY

pytestmark = pytest.mark.filterwarnings("ignore:batches are cut into micro-batches")  # on purpose
FOLDER = tempfile.TemporaryDirectory()
LOGS = count()


def new_log() -> tuple[str]:
    return (f"{FOLDER.name}/{next(LOGS)}",)


class Trial:
    """Stands for one of Optuna's, which prunes nothing."""

    def report(self, value, step):
        self.value = value

    def should_prune(self):
        return False


def look(name, layer, output): ...


ARGUMENTS = {
    "Accumulate": lambda: (2,),
    "BatchTransform": lambda: (0.5, 90),
    "ClipGradients": lambda: (0.1,),
    "MixedPrecision": lambda: ("fp16",),
    "CSVLog": new_log,
    "Checkpoint": new_log,
    "Freeze": lambda: ("0", 1),
    "Hooks": lambda: (look,),
    "Distillation": lambda: (nn.Sequential(nn.Flatten(), nn.Linear(3, 2)),),
    "GAN": lambda: (2,),
    "GradientCheckpointing": lambda: (["0", "1", "2"],),
    "JSONLLog": new_log,
    "LossWeights": lambda: ({"fit": 1.0, "size": 0.5},),
    "Metrics": lambda: ([accuracy],),
    "MicroBatches": lambda: (5,),
    "OptunaPruning": lambda: (Trial(),),
    "ParamScheduler": lambda: ("lr", sched_lin(0.2, 0.0)),
    "Progress": lambda: ("plain",),
    "SWA": lambda: (0.3,),
    "StochasticDepth": lambda: (0.5, "0"),
    "TensorBoardLog": new_log,
    "TorchScheduler": lambda: (
        partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5),
        "step",
    ),
}


MOVING = {  # settings with which the state moves in a few steps, before a stop and after it
    "Checkpoint": [{"monitor": "valid_loss", "mode": "max"}],
    "EarlyStopping": [{"mode": "max", "patience": None, "restore_best": True}],
    "GAN": [{"n_crit": 2}, {"n_crit": 5}],
    "Lookahead": [{"k": 2}],
    "Metrics": [{"train": True}],
    "MixedPrecision": [{"growth_every": 1}],
    "ReduceOnPlateau": [
        {"mode": "max", "patience": 0, "cooldown": 1},
        {"mode": "max", "patience": 1},
    ],
    "Rewind": [
        {"every": "1 steps", "keep": 9, "back": 3, "lr_factor": 0.5, "spike": None},
        {"every": "2 steps", "back": 1, "check_every": 3, "spike": 0.01, "window": 10, "limit": 9},
    ],
    "SWA": [{"every": "2 epochs"}, {"every": "1 epoch"}],
    "StopOnNonFinite": [{"every": 5}],
}


def discovered() -> list[type[Callback]]:
    found = {}
    for module in pkgutil.walk_packages(lehr.callbacks.__path__, "lehr.callbacks."):
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(kind, Callback) and kind.__module__ == module.name:
                found[name] = kind
    return list(found.values())


FOUND = discovered()


def missing(kind: type[Callback]) -> bool:
    """Whether it needs a package that is not installed."""
    package = getattr(kind, "package", None)
    return package is not None and importlib.util.find_spec(package) is None


SLOW_SERVICES = {"MLflowLog", "WandbLog"}  # seconds for each fit: tests/callbacks/log has theirs
ALL = [kind for kind in FOUND if not missing(kind) and kind.__name__ not in SLOW_SERVICES]


def make(kind: type[Callback], **settings) -> Callback:
    return kind(*ARGUMENTS.get(kind.__name__, tuple)(), **settings)


def learner(*callbacks: Callback):
    kinds = {kind for callback in callbacks for kind in type(callback).__mro__}
    torch.manual_seed(0)
    if GAN in kinds:
        return adversarial(*callbacks)
    model = Net(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_func = parts if LossWeights in kinds else nn.functional.cross_entropy
    named = {"model": model, "opt": opt, "loss_func": loss_func}
    return tiny_learner(callbacks, split_batch=as_image, **named)


class Net(nn.Sequential):
    """Takes images; with a state, which may be None, it returns the next one as well."""

    def forward(self, x, *states):
        given = [state for state in states if state is not None]
        out = super().forward((x + sum(given)).flatten(1))
        return (out, x.mean()) if states else out


def parts(pred, yb):
    return {"fit": nn.functional.cross_entropy(pred, yb), "size": pred.square().mean()}


def adversarial(*callbacks: Callback):
    critic = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
    model = nn.ModuleDict({"generator": nn.Linear(2, 3), "critic": critic})
    opt = {name: torch.optim.SGD(model[name].parameters(), 0.1, momentum=0.9) for name in model}
    return tiny_learner(callbacks, model=model, opt=opt, loss_func=GAN.wasserstein)


def as_image(batch):
    """The numbers of each item as a picture, so that there is something to cut."""
    return batch[0][:, None, :, None], batch[1]


def anew(callbacks):
    return learner(*callbacks)


def test_something_is_discovered():
    names = {kind.__name__ for kind in ALL}
    assert names >= {"Recorder", "Metrics", "Progress", "ParamScheduler", "Predictions"}


@pytest.mark.parametrize("kind", [kind for kind in FOUND if missing(kind)])
def test_what_is_left_out_here_says_what_it_needs(kind):
    with pytest.raises(ImportError, match=f"needs the package {kind.package}, which is not inst"):
        kind(*ARGUMENTS.get(kind.__name__, tuple)())
    pytest.skip(f"{kind.package} is not installed: make test-clients")


@pytest.mark.parametrize("kind", ALL)
def test_it_can_be_attached_and_explains_itself(kind):
    check(make(kind))
    assert "Example:" in kind.__doc__
    own = [part for part in kind.__mro__ if part is not Callback]  # a log shares a half with others
    defined = [(part, name) for part in own for name in METHODS if name in vars(part)]
    assert defined, "it would never be called"
    for part, name in defined:
        assert vars(part)[name].__doc__, f"{part.__name__}.{name} has no docstring"


def maker(kind: type[Callback]):
    return partial(make, kind)


@pytest.mark.parametrize("kind", ALL)
def test_it_serves_two_fits_alike(kind):
    contract.serves_two_fits_alike(maker(kind), anew)


@pytest.mark.parametrize("kind", ALL)
def test_it_leaves_everything_clean_after_success(kind):
    contract.leaves_everything_clean(maker(kind), anew)


def ends():
    """All kinds, moments and endings; at commit one of each moment, another for the next kind."""
    for number, kind in enumerate(ALL):
        for place, moment in enumerate([*EVENTS, *ACTIONS]):
            endings = [one for one in contract.moments() if one[0] == moment]
            chosen = endings if NIGHTLY else [endings[(number + place) % len(endings)]]
            yield from ((kind, *one) for one in chosen)


def test_every_kind_meets_every_moment_and_ending_and_every_ending_of_a_moment_is_met():
    met = list(ends())
    moments = {*EVENTS, *ACTIONS}
    assert {(kind, moment) for kind, moment, *_ in met} == {(k, m) for k in ALL for m in moments}
    endings = {(kind, ending, epoch) for kind, _, ending, epoch in met}
    assert endings == {(k, ending, epoch) for k in ALL for _, ending, epoch in contract.moments()}
    assert {tuple(place) for _, *place in met} == set(contract.moments())


@pytest.mark.parametrize(("kind", "moment", "ending", "epoch"), list(ends()))
def test_it_leaves_everything_clean_however_the_fit_ends(kind, moment, ending, epoch):
    contract.leaves_everything_clean(maker(kind), anew, moment, ending, epoch)


@pytest.mark.parametrize("kind", ALL)
def test_its_state_round_trips_and_foreign_state_is_refused(kind):
    contract.has_a_state_that_round_trips(maker(kind), anew)
    assert set(capture({"it": make(kind)})["it"]) <= set(kind.state)
    with pytest.raises(KeyError, match="has no state named 'unknown'"):
        make(kind).load_state_dict({"unknown": 1})


@pytest.mark.parametrize("kind", ALL)
def test_it_says_itself_what_its_state_is(kind):
    assert "state" in vars(kind)


@pytest.fixture
def still_clock(monkeypatch):
    monkeypatch.setattr(lehr.callbacks.measure.recorder, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(lehr.callbacks.log.step_log, "monotonic", lambda: 0.0)


class StatesAtRests(Callback):
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


def watched(kind, arguments, folder, stop=-1, **settings):
    """The state of a callback at every rest of a run that is stopped, or goes on."""
    callback = kind(*arguments, **settings)
    saver = [] if issubclass(kind, Checkpoint) else [Checkpoint(folder)]
    states = StatesAtRests(callback, stop)
    learner(callback, *saver, states).fit(3, validate_every="3 steps", resume="auto")
    return states.seen


@cache
def straight_run(kind, **settings):
    """Made once for all stops and names; call it where the clock stands still."""
    arguments = ARGUMENTS.get(kind.__name__, tuple)()
    return watched(kind, arguments, *new_log(), **settings)


def gone_on(kind, going_on, **settings):
    """What is different after a stop, of a callback of another class, perhaps."""
    straight = straight_run(kind, **settings)
    arguments, [folder] = ARGUMENTS.get(kind.__name__, tuple)(), new_log()
    watched(kind, arguments, folder, 10, **settings)
    seen = watched(going_on, arguments, folder, **settings)
    return first_difference({place: straight[place] for place in seen}, seen)


@cache
def control(kind, **settings):
    """The difference that is none, once for all names of a kind."""
    return gone_on(kind, kind, **settings)


@pytest.mark.parametrize("stop", [3, 4, 6])
@pytest.mark.parametrize("kind", ALL)
def test_its_state_is_that_of_a_run_that_never_stopped(kind, stop, tmp_path, still_clock):
    own = ARGUMENTS.get(kind.__name__, tuple)
    straight = straight_run(kind)
    arguments = own()
    watched(kind, arguments, tmp_path / "stopped", stop)
    resumed = watched(kind, arguments, tmp_path / "stopped")
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


def settings_of(kind):
    """Those with which its state moves; one after the other, if no one moves all of it."""
    return MOVING.get(kind.__name__, [{}])


def eventful(callbacks):
    """A learner with something for each to do: losses to go back from, an optimizer with modes."""
    kinds = {kind for callback in callbacks for kind in type(callback).__mro__}
    learn = learner(*callbacks, *([Spoil()] if Rewind in kinds else []))
    if OptimizerModes in kinds:
        learn.opt = Wrapped(learn.model.parameters(), 0.1)
    return learn


class Spoil(Callback):
    """Makes the losses of two batches infinite."""

    state = ()

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and (run.epoch, run.batch_index) in ((1, 1), (2, 3)):
            run.loss = run.loss * torch.inf


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(kind, settings) for kind in ALL if kind.replays for settings in settings_of(kind)],
)
def test_what_it_declares_is_all_that_it_needs(kind, settings):
    contract.goes_on_after_a_stop(partial(make, kind, **settings), eventful)


def lies(*, replays):
    """Each kind with each name that it declares."""
    kinds = [kind for kind in ALL if kind.replays is replays]
    return [(kind, name) for kind in kinds for name in kind.state]


def at_once(one, other):
    """The first difference that there is anywhere, as an error."""
    if difference := first_difference(one, other):
        raise AssertionError(difference)


@pytest.mark.parametrize(("kind", "name"), lies(replays=True))
def test_a_name_that_is_not_declared_is_found(kind, name, monkeypatch):
    module = importlib.import_module("lehr.inspect.check_resume")
    monkeypatch.setattr(module, "first_difference", at_once)  # one stop that shows it is enough
    left = tuple(other for other in kind.state if other != name)
    liar = type(kind.__name__, (kind,), {"state": left, "__module__": kind.__module__})
    found = False
    for settings in settings_of(kind):
        try:
            contract.goes_on_after_a_stop(partial(make, liar, **settings), eventful)
        except (AssertionError, FloatingPointError, RuntimeError, UserWarning):
            found = True  # it differs, or cannot go on; with the name, it does: see above
            break
    assert found is ((kind.__name__, name) not in REDUNDANT)


def forgetful(kind, forgotten):
    """A kind whose callbacks do not load what they saved under one name."""

    def load_state_dict(self, state_dict):
        own = capture({"it": self})["it"]
        kept = {name: value for name, value in state_dict.items() if name != forgotten}
        kind.load_state_dict(self, kept | {name: own[name] for name in own if name == forgotten})

    namespace = {"load_state_dict": load_state_dict, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), {"state": kind.state, **namespace})


@pytest.mark.parametrize(("kind", "name"), lies(replays=False))
def test_an_onlookers_name_that_is_not_loaded_is_found(kind, name, still_clock):
    [settings] = settings_of(kind)
    assert control(kind, **settings) is None
    difference = gone_on(kind, forgetful(kind, name), **settings)
    assert (difference is not None) is ((kind.__name__, name) not in REDUNDANT)


def test_what_is_redundant_is_declared():
    declared = {(kind.__name__, name) for kind in ALL for name in kind.state}
    assert set(REDUNDANT) < declared
    assert set(MOVING) < {kind.__name__ for kind in ALL}


REDUNDANT = {  # what no difference comes of here, and why
    ("Lookahead", "moved_at"): "the weights that are moved a second time stay where they are",
    ("SWA", "statistics"): "they are computed anew, from the same batches: a pass is saved",
    ("ParamScheduler", "driven"): "of the groups that are there at first it is known anew",
    ("ReduceOnPlateau", "driven"): "of the groups that are there at first it is known anew",
    ("TorchScheduler", "judged"): "only the newest value counts, and each epoch here has one",
    ("MicroBatches", "size"): "the size that fits is found again, where the first does not",
    ("Checkpoint", "run_id"): "it is drawn, so it is not compared; see tests/callbacks/decide",
    ("OptunaPruning", "pruned"): "a run that was pruned is over; see tests/callbacks/decide",
}


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.replays])
def test_it_says_itself_whether_it_goes_by_the_length_of_the_fit(kind):
    callback = make(kind)
    assert "by_length" in {**vars(kind), **vars(callback)}
    assert callback.by_length is (kind.__name__ in GO_BY_LENGTH)


@pytest.mark.filterwarnings("ignore:resuming is correct")
@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.replays])
def test_a_fit_that_is_made_longer_is_the_long_one_if_it_goes_by_no_length(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(lehr.callbacks.measure.recorder, "perf_counter", lambda: 0.0)
    arguments = ARGUMENTS.get(kind.__name__, tuple)()

    def trained(epochs, folder):
        callback = kind(*arguments)
        learn = learner(callback, Checkpoint(tmp_path / folder))
        run = learn.fit(epochs, resume="auto", exact=not callback.by_length)
        entries = run.state_entries()
        return capture({name: it for name, it in entries.items() if "checkpoint" not in name})

    straight, short = trained(4, "straight"), trained(2, "longer")
    difference = first_difference(straight, trained(4, "longer"))
    assert (difference is not None) is (kind.__name__ in DEPEND_ON_THE_LENGTH_HERE)
    assert first_difference(straight, short) is not None


GO_BY_LENGTH = {"Lookahead", "ParamScheduler", "ProgressiveResizing", "SWA", "TorchScheduler"}
DEPEND_ON_THE_LENGTH_HERE = {"Lookahead", "ParamScheduler", "SWA"}  # the controls


CHANGE_IN_A_FIT = {
    "ActivationStats",
    "EMATeacher",
    "TruncatedBPTT",  # after these twelve steps, GAN is where it began
    "GradientStats",
    "CSVLog",
    "EMA",
    "EarlyStopping",
    "JSONLLog",
    "Lookahead",
    "MixedPrecision",
    "OptimizerModes",
    "OptunaPruning",
    "Progress",
    "Recorder",
    "ReduceOnPlateau",
    "Rewind",
    "SWA",
    "TensorBoardLog",
    "TorchScheduler",
}


CHANGES_TRAINING_ON_PURPOSE = {
    "Accumulate",
    "BatchTransform",
    "ClipGradients",
    "Closure",  # the statistics of BatchNorm see each batch once more
    "CutMix",
    "Freeze",
    "Distillation",
    "EMATeacher",
    "GAN",
    "LabelSmoothing",
    "Lookahead",
    "LossWeights",
    "MicroBatches",
    "MixUp",
    "MixedPrecision",
    "ParamScheduler",
    "RandomErasing",
    "ReduceOnPlateau",
    "Rewind",
    "SAM",
    "StochasticDepth",
    "TorchScheduler",
    "TruncatedBPTT",
}


CHANGES_VALIDATION_ON_PURPOSE = {"EMA", "SWA"}


@pytest.mark.parametrize("kind", [k for k in ALL if k.__name__ not in CHANGES_TRAINING_ON_PURPOSE])
def test_it_does_not_change_the_training(kind):
    validation = kind.__name__ not in CHANGES_VALIDATION_ON_PURPOSE
    contract.does_not_change_the_training(maker(kind), anew, validation=validation)


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

"""Going on where a run was left, bit for bit."""

import json
import shutil
import warnings
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import RandomSampler

from lehr import Callback, CancelEpoch, DataBunch, Phase
from lehr.base import strict_json
from lehr.callbacks import (
    EMA,
    SAM,
    SWA,
    Accumulate,
    Checkpoint,
    ClipGradients,
    CSVLog,
    EarlyStopping,
    Freeze,
    Lookahead,
    MixUp,
    ParamScheduler,
    ProgressiveResizing,
    TorchScheduler,
)
from lehr.data import DataLoader
from lehr.errors import ResumeWarning
from lehr.schedules import sched_cos, sched_lin
from lehr.state.differences import first_difference
from lehr.state.disk import manifest_text, vouched
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class InterruptAt(Callback):
    """Asks the run to end in the n-th training batch."""

    phase = Phase.REPORT
    replays = False

    def __init__(self, n):
        self.n = n

    def after_batch(self, run):
        if run.training and run.n_iter == self.n:
            run.interrupt("test")


class Steps(Callback):
    """Counts; declared, so that it is saved."""

    state = ("steps",)

    def begin_fit(self, run):
        self.steps = 0

    def after_step(self, run):
        self.steps += 1


class Counts(Steps):
    """Another one, which has something to save as well."""


def learner(folder=None, *callbacks, every="1 epoch", **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
    kwargs = {"opt": partial(torch.optim.AdamW, lr=0.1), "model": model, **kwargs}
    schedule = ParamScheduler("lr", sched_cos(0.1, 0.0))
    saver = [Checkpoint(folder, every=every, keep=2)] if folder else []
    return tiny_learner([schedule, Steps(), *saver, *callbacks], **kwargs)


def state(run):
    """Everything of a run, but for the time it took and the checkpoints themselves."""
    found = capture(run.state_entries())
    for row in found["history"]["rows"]:
        row.pop("seconds", None)
    names = ("callbacks.checkpoint", "callbacks.interrupt_at", "callbacks.recorder")
    return {name: value for name, value in found.items() if name not in names}


@pytest.fixture(scope="module")
def straight():
    return state(learner().fit(3))


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, straight, stop):
    stopped = learner(tmp_path, InterruptAt(stop)).fit(3)
    assert (stopped.n_steps, stopped.interrupted) == (stop, "test")
    assert first_difference(straight, state(stopped)) is not None
    resumed = learner(tmp_path).fit(3, resume="auto")
    assert resumed.interrupted is None
    assert first_difference(straight, state(resumed)) is None


def test_any_number_of_stops(tmp_path, straight):
    for stop in (2, 3, 4, 7, 9, 11):
        learner(tmp_path, InterruptAt(stop)).fit(3, resume="auto")
    resumed = learner(tmp_path).fit(3, resume="auto")
    assert first_difference(straight, state(resumed)) is None


def test_from_an_old_checkpoint_it_is_the_same_again(tmp_path, straight):
    learner(tmp_path, every="5 steps").fit(3)
    paths = [one.path for one in CheckpointFolder(tmp_path).all()]
    assert len(paths) == 3
    for path in paths:
        resumed = learner().fit(3, resume=path)
        assert first_difference(straight, state(resumed)) is None


def test_a_change_of_one_bit_would_be_seen(tmp_path, straight):
    learner(tmp_path, InterruptAt(5)).fit(3)

    class Nudge(Callback):
        phase = Phase.REPORT
        replays = False

        def begin_train(self, run):
            with torch.no_grad():
                w = run.model[0].weight
                w[0, 0] = torch.nextafter(w[0, 0], torch.tensor(9.0))

    other = learner(tmp_path, Nudge()).fit(3, resume="auto")
    assert "model" in first_difference(straight, state(other))


def test_a_run_that_is_over_stays_over(tmp_path, straight):
    learner(tmp_path).fit(3)
    again = learner(tmp_path).fit(3, resume="auto")
    assert first_difference(straight, state(again)) is None
    assert again.n_steps == 12


def test_one_that_stopped_itself_stays_stopped(tmp_path):
    def fit(resume=None):
        early = EarlyStopping("valid_loss", patience=1, min_delta=10.0)
        return learner(tmp_path, early).fit(9, resume=resume)

    first = fit()
    assert first.stop_reason
    again = fit("auto")
    assert (again.stop_reason, again.n_steps) == (first.stop_reason, first.n_steps)


def test_the_seed_is_that_of_the_checkpoint(tmp_path):
    learner(tmp_path, InterruptAt(5), seed=7).fit(3)
    assert learner(tmp_path, seed=None).fit(3, resume="auto").seed == 7


def test_auto_starts_anew_in_an_empty_folder_and_a_path_does_not(tmp_path, straight):
    assert first_difference(straight, state(learner(tmp_path).fit(3, resume="auto"))) is None
    with pytest.raises(FileNotFoundError, match="holds no checkpoint of a fit that began at step"):
        learner().fit(3, resume=tmp_path / "elsewhere")


def test_auto_needs_exactly_one_to_ask(tmp_path):
    with pytest.raises(ValueError, match='resume="auto" asks the Checkpoint callback'):
        learner().fit(1, resume="auto")
    with pytest.raises(ValueError, match="there are 2 of them"):
        learner(tmp_path, Checkpoint(tmp_path / "b")).fit(1, resume="auto")


def test_a_callback_of_ones_own_may_say_where_checkpoints_are(tmp_path, straight):
    learner(tmp_path, InterruptAt(5)).fit(3)

    class Saver(Callback):
        replays = False
        checkpoint_folder = str(tmp_path)

    begun = []
    saver = Saver()
    saver.begin_epoch = lambda run: begun.append(run.epoch)
    ended = state(learner(None, saver).fit(3, resume="auto"))
    assert begun == [1, 2]
    assert ended.pop("callbacks.saver") == {}
    assert first_difference(straight, ended) is None


@pytest.mark.parametrize("resume", [3, True, b"a"])
def test_what_is_no_path_is_refused(resume):
    with pytest.raises(TypeError, match="resume must be the path of a folder"):
        learner().fit(1, resume=resume)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    learner(tmp_path).fit(1)
    other = learner()
    other.fit(1)
    [first, *_] = CheckpointFolder(tmp_path).all()
    with pytest.raises(ValueError, match="is of a fit that began when the Learner had made 0"):
        other.fit(1, resume=first.path)


def test_a_damaged_checkpoint_is_passed_over(tmp_path, straight):
    learner(tmp_path, InterruptAt(9), every="2 steps").fit(3)
    newest = CheckpointFolder(tmp_path).all()[-1].path
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "model.safetensors").write_bytes(data)
    with pytest.warns(UserWarning, match=r"is used.*model\.safetensors has the checksum"):
        resumed = learner(tmp_path).fit(3, resume="auto")
    assert first_difference(straight, state(resumed)) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"at_epoch": "1"}, "at_epoch must be a whole number from 0 to .*; got '1'"),
        ({"stage": "noon"}, "stage must be one of epoch, batch, validated, trained; got 'noon'"),
        ({"onlookers": None}, "onlookers must be a list; got None"),
        ({"seed": None}, "seed must be a whole number; got None"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_checkpoint_that_does_not_say_where_it_was_is_refused(tmp_path, change, told, named):
    learner(tmp_path).fit(1)
    newest = CheckpointFolder(tmp_path).all()[-1].path
    manifest = json.loads((newest / "manifest.json").read_text()) | change
    del manifest["checksum"]
    body = strict_json.dump(manifest, indent=1)
    (newest / "manifest.json").write_bytes(manifest_text.sealed(body))
    with pytest.raises(ValueError, match=rf"step-.* cannot be gone on from: {told}.* Use another"):
        learner().fit(2, resume=newest if named else tmp_path)


def paths(tree, at=()):
    if isinstance(tree, dict):
        for key in tree:
            yield (*at, key)
            yield from paths(tree[key], (*at, key))


def renamed(tree, path):
    """JSON with one key under another name."""
    tree = json.loads(json.dumps(tree))
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    holder["other " + path[-1]] = holder.pop(path[-1])
    return tree


def made(learn):
    return capture({n: learn.state_entries()[n] for n in ("model", "modes", "opt", "counters")})


def test_a_forged_state_is_refused_in_words_whatever_it_lacks(tmp_path):
    learner(tmp_path, InterruptAt(9), every="2 steps").fit(3)
    newest = CheckpointFolder(tmp_path).all()[-1].path
    manifest, state = (newest / name for name in ("manifest.json", "state.json"))
    whole, sealed = json.loads(state.read_text()), json.loads(manifest.read_text())
    del sealed["checksum"]
    refused = {}
    for path in paths(whole):
        state.write_bytes(data := strict_json.dump(renamed(whole, path)))
        sealed["files"]["state.json"] = {"size": len(data), "crc32": vouched.checksum_of(data)}
        manifest.write_bytes(manifest_text.sealed(strict_json.dump(sealed, indent=1)))
        learn = learner()
        before = made(learn)
        try:
            learn.fit(3, resume=newest)
        except (ValueError, KeyError, TypeError) as error:
            refused[path] = str(error.args[0])
        assert path not in refused or first_difference(before, made(learn)) is None, path
    assert len(refused) > 20
    assert all(" " in words for words in refused.values()), refused


def test_if_all_are_damaged_nothing_is_begun(tmp_path):
    learner(tmp_path).fit(1)
    for path in tmp_path.glob("step-*/state.json"):
        path.write_text("{}")
    learn = learner(tmp_path)
    before = capture(learn.state_entries())
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be used"):
        learn.fit(1, resume="auto")
    assert first_difference(before, capture(learn.state_entries())) is None


def test_other_settings_are_named_and_exact_refuses_them(tmp_path):
    learner(tmp_path, InterruptAt(5)).fit(3)
    copy = tmp_path.with_name("copy")
    shutil.copytree(tmp_path, copy)
    learn = learner(copy)
    before = capture({"model": learn.model, "opt": learn.opt})
    with pytest.raises(ValueError, match="would not be bit for bit exact: epochs 3 → 4"):
        learn.fit(4, resume="auto", exact=True)
    assert first_difference(before, capture({"model": learn.model, "opt": learn.opt})) is None
    with pytest.warns(UserWarning, match="correct but not bit for bit exact: epochs 3 → 4"):
        assert learner(tmp_path).fit(4, resume="auto").n_steps == 16


TECHNIQUES = {
    "none": list,
    "EMA": lambda: [EMA(0.9)],
    "MixUp": lambda: [MixUp()],
    "SAM, clipped": lambda: [SAM(), ClipGradients(1.0)],
    "Accumulate": lambda: [Accumulate(2)],
    "EarlyStopping": lambda: [EarlyStopping()],
    "SWA by epochs": lambda: [SWA(0)],
    "Freeze by epochs": lambda: [Freeze({"0": None, "2": 0})],
}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_more_epochs_are_no_difference_where_nothing_goes_by_them(tmp_path, name):
    make = TECHNIQUES[name]
    straight = state(tiny_learner(make()).fit(2))
    tiny_learner([*make(), Checkpoint(tmp_path)]).fit(1)
    longer = tiny_learner([*make(), Checkpoint(tmp_path)])
    resumed = state(longer.fit(2, resume="auto", exact=True))
    kept = [entry for entry in straight if "checkpoint" not in entry]
    assert first_difference({k: straight[k] for k in kept}, {k: resumed[k] for k in kept}) is None
    shorter = state(tiny_learner(make()).fit(1))
    assert first_difference(shorter, resumed)  # the control


class ByPosition(Callback):
    state = ("pos",)

    def begin_batch(self, run):
        self.pos = run.pos


IMAGES = {
    "model": nn.Sequential(nn.AdaptiveAvgPool2d((3, 1)), nn.Flatten(), nn.Linear(3, 2)),
    "split_batch": lambda batch: (batch[0][:, None, :, None], batch[1]),
}


def by_length(folder, callbacks=(), epochs=1, resume=None, *, every=None, **given):
    learn = tiny_learner([*callbacks, Checkpoint(folder)], **given)
    return learn.fit(epochs, validate_every=every, resume=resume)


@pytest.mark.parametrize(
    "given",
    [
        {"callbacks": [ParamScheduler("lr", sched_cos(0.1, 0.0))]},
        {"callbacks": [TorchScheduler(lambda o: lr_scheduler.ConstantLR(o), "step")]},
        {"callbacks": [ByPosition()]},
        {"callbacks": [SWA(0.5)]},
        {"callbacks": [Freeze("0", 0.5)]},
        {"callbacks": [Freeze({"0": 0.5, "2": 0})]},
        {"callbacks": [ProgressiveResizing(multiple=1)], **IMAGES},
        {"callbacks": [Lookahead(3)]},  # it moves the weights once more after the last step
        {"every": "2 epochs"},
        {"every": "3 steps"},
        {"weight": lambda run: 1 + run.pos},
    ],
)
def test_more_epochs_are_a_difference_where_something_may_go_by_them(tmp_path, given):
    by_length(tmp_path, **given)
    with pytest.warns(UserWarning, match="correct but not bit for bit exact: epochs 1 → 2"):
        by_length(tmp_path, epochs=2, resume="auto", **given)


def test_an_exact_resume_warns_of_nothing(tmp_path):
    learner(tmp_path, InterruptAt(5)).fit(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(tmp_path, InterruptAt(7)).fit(3, resume="auto", exact=False)


def test_another_schedule_is_a_difference(tmp_path):
    tiny_learner([ParamScheduler("lr", sched_lin(1, 0)), Checkpoint(tmp_path)]).fit(1)
    with pytest.warns(
        UserWarning, match=r"callbacks: no ParamScheduler.*sched_lin\(1, 0\)\), new: .*sched_lin\(2"
    ):
        tiny_learner([ParamScheduler("lr", sched_lin(2, 0)), Checkpoint(tmp_path)]).fit(
            1, resume="auto"
        )


@pytest.mark.filterwarnings("ignore:resuming is correct")
@pytest.mark.parametrize("missing", [True, False])
def test_state_that_has_no_owner_or_an_owner_without_state_is_named(tmp_path, missing):
    with_steps, without = (
        (partial(tiny_learner, [Steps(), Checkpoint(tmp_path)])),
        partial(tiny_learner, [Checkpoint(tmp_path)]),
    )
    first, second = (with_steps, without) if missing else (without, with_steps)
    first().fit(1)
    learn = second()
    before = capture({"model": learn.model, "opt": learn.opt})
    with pytest.raises(KeyError, match=r"callbacks\.steps"):
        learn.fit(2, resume="auto")
    assert first_difference(before, capture({"model": learn.model, "opt": learn.opt})) is None


@pytest.mark.parametrize(
    ("then", "now", "advice"),
    [
        ([Steps, EMA], [], "with steps, ema. To take only"),
        ([], [EMA], "without EMA. To take only"),
        (
            [Steps],
            [Counts],
            "with steps and without Counts. If no number of the run depends on Counts, declare "
            "replays = False in it. To take only",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:resuming is correct")
def test_the_error_for_other_callbacks_says_what_to_do(tmp_path, then, now, advice):
    tiny_learner([Checkpoint(tmp_path), *(kind() for kind in then)]).fit(1)
    learn = tiny_learner([Checkpoint(tmp_path), *(kind() for kind in now)])
    with pytest.raises(KeyError) as caught:
        learn.fit(2, resume="auto")
    assert f"Give fit the callbacks of the fit that was saved: {advice}" in str(caught.value)
    learn.load(CheckpointFolder(tmp_path).all()[-1].path)  # as the error says
    tiny_learner([Checkpoint(tmp_path), *(kind() for kind in then)]).fit(2, resume="auto")


LR = partial(ParamScheduler, "lr", sched_lin(0.2, 0.1))
DECAY = partial(ParamScheduler, "weight_decay", sched_lin(0.8, 0.9))
FASTER, FAST, SLOW = (partial(EMA, decay) for decay in (0.5, 0.7, 0.9))


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ((LR, DECAY), (DECAY, LR), r"'weight_decay'.* the state of ParamScheduler\('lr'"),
        ((FASTER, SLOW), (SLOW, FAST), r"EMA\(0.7\) would get the state of EMA\(0.9\)"),
    ],
)
def test_no_callback_gets_the_state_of_another_of_its_class(tmp_path, then, now, told):
    def fit(callbacks, stop=(), **how):
        made = [callback() for callback in callbacks]
        tiny_learner().fit(2, callbacks=[*made, Checkpoint(tmp_path), *stop], **how)

    fit(then, [InterruptAt(3)])
    with pytest.raises(ValueError, match=f"{told}.* Attach them as they were"):
        fit(now, resume="auto")
    fit(then, resume="auto", exact=True)


def test_logs_of_one_class_are_not_taken_for_one_another(tmp_path):
    def fit(names, stop=(), **how):
        logs = [CSVLog(tmp_path / name) for name in names]
        tiny_learner().fit(2, callbacks=[*logs, Checkpoint(tmp_path), *stop], **how)

    fit(("a.csv", "b.csv"), [InterruptAt(5)])
    with pytest.raises(ValueError, match="told apart by their order"):
        fit(("b.csv", "a.csv"), resume="auto")
    fit(("a.csv", "b.csv"), resume="auto", exact=True)


def test_callbacks_with_names_of_their_own_may_come_in_any_order(tmp_path):
    def averages(*order):
        made = {"slow": EMA(0.99), "fast": EMA(0.5)}
        for name, callback in made.items():
            callback.name = name
        return [made[name] for name in order]

    def fit(callbacks, stop=(), **how):
        tiny_learner().fit(2, callbacks=[*callbacks, Checkpoint(tmp_path), *stop], **how)
        return {callback.name: capture({"": callback}) for callback in callbacks}

    whole = fit(averages("slow", "fast"))
    shutil.rmtree(tmp_path)
    fit(averages("slow", "fast"), [InterruptAt(3)])
    with pytest.warns(ResumeWarning, match="in another order"):
        resumed = fit(averages("fast", "slow"), resume="auto")
    assert first_difference(whole, resumed) is None


def test_callbacks_with_names_of_their_own_may_exchange_their_settings(tmp_path):
    def fit(slow, fast, stop=(), **how):
        averages = [EMA(slow), EMA(fast)]
        averages[0].name, averages[1].name = "one", "other"
        tiny_learner().fit(2, callbacks=[*averages, Checkpoint(tmp_path), *stop], **how)

    fit(0.99, 0.5, [InterruptAt(3)])
    with pytest.warns(ResumeWarning, match="in another order"):
        fit(0.5, 0.99, resume="auto")


@pytest.mark.filterwarnings("ignore:resuming is correct")
def test_the_error_for_another_form_of_learner_says_what_to_do(tmp_path):
    def two(learn):
        learn.opt = {"a": torch.optim.SGD(learn.model.parameters(), lr=0.1)}
        return learn

    tiny_learner([Checkpoint(tmp_path)]).fit(1)
    learn = two(tiny_learner([Checkpoint(tmp_path), Steps()]))
    with pytest.raises(KeyError, match=r"Make the Learner and its data as for .*: without Steps\."):
        learn.fit(2, resume="auto")


@pytest.mark.filterwarnings("ignore:resuming is correct")
@pytest.mark.parametrize("seed", [None, 7])
def test_another_model_is_refused_with_its_differences_and_nothing_changes(tmp_path, seed):
    def made(*sizes, **kwargs):
        with torch.random.fork_rng():
            model = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise(sizes)))
        return learner(tmp_path, model=model, **kwargs)

    made(3, 4, 2, seed=3).fit(1)
    learn = made(3, 5, 2, 2, 2, 2, seed=seed)
    before, random = whole(learn), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"(?s)another model; nothing was restored") as caught:
        learn.fit(2, resume="auto")
    lines = str(caught.value).splitlines()
    absent = "2.weight, 2.bias, 3.weight, 3.bias, 4.weight, and 1 more"
    assert f"missing in the file (6): {absent}" == lines[1]
    shapes = "is (4, 3) float32 in the file and (5, 3) float32 in the model"
    assert f"that do not fit (3): 0.weight {shapes}" in lines[2]
    assert "Error(s) in loading" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert first_difference(before, whole(learn)) is None
    assert torch.equal(torch.get_rng_state(), random)
    differences = learn.load(CheckpointFolder(tmp_path).all()[-1].path, strict=False)
    assert str(differences).splitlines() == lines[1:3]  # the same words
    assert made(3, 4, 2, seed=7).fit(2, resume="auto").seed == 3  # the control


@pytest.mark.filterwarnings("ignore:resuming is correct")
def test_another_loss_function_is_named(tmp_path):
    class Scaled(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.register_buffer("scale", torch.ones(classes))

        def forward(self, pred, yb):
            return nn.functional.cross_entropy(pred * self.scale[:2], yb)

    learner(tmp_path, loss_func=Scaled(2)).fit(1)
    with pytest.raises(ValueError, match=r"(?s)another loss func.*: scale is \(2,\) float32"):
        learner(tmp_path, loss_func=Scaled(3)).fit(2, resume="auto")


def test_who_only_looks_on_may_come_and_go(tmp_path, straight):
    class Onlooker(Callback):
        phase = Phase.REPORT
        replays = False
        state = ("seen",)

        def begin_fit(self, run):
            self.seen = 0

        def after_step(self, run):
            self.seen += 1

    learner(tmp_path, InterruptAt(5), Onlooker()).fit(3)
    assert first_difference(straight, state(learner(tmp_path).fit(3, resume="auto"))) is None
    shutil.rmtree(tmp_path)
    learner(tmp_path, InterruptAt(5)).fit(3)
    late = Onlooker()
    learner(tmp_path, late).fit(3, resume="auto")
    assert late.seen == 12 - 5


def test_the_warning_of_a_damaged_one_points_at_the_line_that_resumes(tmp_path):
    learner(tmp_path, InterruptAt(9), every="2 steps").fit(3)
    (CheckpointFolder(tmp_path).all()[-1].path / "state.json").unlink()
    with pytest.warns(UserWarning, match=r"state\.json is missing") as warned:
        learner(tmp_path).fit(3, resume="auto")
    assert warned[0].filename == __file__


def test_an_interruption_before_the_state_is_loaded_is_not_forgotten(tmp_path, straight):
    class AtOnce(InterruptAt):
        def begin_fit(self, run):
            run.interrupt("at once")

    for stop in (5, 8):  # within an epoch, and between two
        learner(tmp_path, InterruptAt(stop)).fit(3, resume="auto")
        run = learner(tmp_path, AtOnce(99)).fit(3, resume="auto")
        assert (run.n_steps, run.interrupted) == (stop, "at once")
    assert first_difference(straight, state(learner(tmp_path).fit(3, resume="auto"))) is None


def whole(learn):
    """Everything that a failed attempt to resume must leave as it was."""
    found = capture(learn.state_entries())
    for name in [name for name in found if name.startswith("callbacks.")]:
        del found[name]  # they begin anew with every fit
    return found


@pytest.mark.parametrize("torn", ["file", "model", "state"])
def test_where_loading_fails_halfway_everything_is_put_back(tmp_path, torn):
    def logged(width=4):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
        log = CSVLog(tmp_path / "log.csv")
        return tiny_learner([log, Checkpoint(tmp_path / "saved"), Steps()], model=model)

    logged().fit(2)
    learn = logged(5 if torn == "model" else 4)
    if torn == "file":
        (tmp_path / "log.csv").write_text("something else\n")
    if torn == "state":
        Steps.state = ("steps", "more")
    before = whole(learn)
    try:
        with pytest.raises((ValueError, RuntimeError, KeyError)) as caught:
            Steps.more = 3
            learn.fit(2, resume="auto")
    finally:
        Steps.state = ("steps",)
        del Steps.more
    expected = {
        "file": "CSVLog cannot go on where the state says",
        "model": "0.weight is (4, 3) float32 in the file and (5, 3) float32 in the model",
        "state": "has no 'more' of callbacks.steps. Was it saved by another version",
    }
    assert expected[torn] in str(caught.value)
    assert first_difference(before, whole(learn)) is None
    learn.callbacks = []
    learn.fit(1)
    assert first_difference(before, whole(learn)) is not None


class Counting:
    """A dataset that counts which items are read."""

    def __init__(self, n):
        self.n, self.reads = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.reads.append(i)
        x = torch.tensor([i % 7, i % 3, i % 2], dtype=torch.float32)
        return x, i % 2


@pytest.mark.parametrize("shuffle", [True, False])
def test_nothing_is_read_that_was_trained_on_before(tmp_path, shuffle):
    def counted(*callbacks):
        data = Counting(1_000_000)
        loader = DataLoader(data, 4, shuffle=shuffle)
        learn = tiny_learner(callbacks, data=DataBunch(loader))
        return learn, data

    learn, data = counted()
    learn.fit(steps=9)
    straight = data.reads
    assert len(straight) == 36
    learn, _ = counted(Checkpoint(tmp_path), InterruptAt(7))
    learn.fit(steps=9)
    learn, data = counted(Checkpoint(tmp_path))
    learn.fit(steps=9, resume="auto")
    assert data.reads == straight[28:]
    assert data.reads != straight[:8]


@pytest.mark.filterwarnings("ignore:resuming is correct")
def test_a_length_that_is_over_before_the_checkpoint_is_refused(tmp_path):
    learner(tmp_path / "steps", InterruptAt(9)).fit(steps=12)
    learn = learner(tmp_path / "steps")
    before = whole(learn)
    with pytest.raises(ValueError, match=r"steps must be at least 9, .* got 8\. Give more steps"):
        learn.fit(steps=8, resume="auto")
    assert first_difference(before, whole(learn)) is None
    assert learner(tmp_path / "steps").fit(steps=9, resume="auto").n_steps == 9
    learner(tmp_path / "epochs", InterruptAt(9)).fit(3)
    learn = learner(tmp_path / "epochs")
    before = whole(learn)
    with pytest.raises(ValueError, match=r"epochs must be at least 3, .* got 2\. Give more epochs"):
        learn.fit(2, resume="auto")
    assert first_difference(before, whole(learn)) is None
    assert learner(tmp_path / "epochs").fit(3, resume="auto").n_steps == 12


def test_an_epoch_that_is_left_before_the_state_is_loaded_is_an_error(tmp_path):
    class Skips(Callback):
        state = ("seen",)

        def begin_fit(self, run):
            self.seen = 0

        def begin_epoch(self, run):
            if run.epoch == 1 and not self.seen:
                raise CancelEpoch

        def after_step(self, run):
            self.seen += 1

    learner(tmp_path, InterruptAt(6), Skips()).fit(3)
    before = [one.path.name for one in CheckpointFolder(tmp_path).all()]
    with pytest.raises(RuntimeError, match="was left before the state to go on from was loaded"):
        learner(tmp_path, Skips()).fit(3, resume="auto")
    assert [one.path.name for one in CheckpointFolder(tmp_path).all()] == before


# Data that grow ---------------------------------------------------------------------------------


class Grow(Callback):
    """Adds training items when the n-th training batch is over."""

    phase = Phase.PREPARE
    replays = False

    def __init__(self, n, items):
        self.n, self.items = n, items

    def after_batch(self, run):
        if run.training and run.n_iter == self.n:
            grow(run.data, self.items)


def grow(data, items):
    ds = data.train_ds
    x = torch.randn(items, 3, generator=torch.Generator().manual_seed(7))
    ds.x, ds.y = x, (x.sum(1) > 0).long()


@pytest.mark.filterwarnings("ignore:train_dl had 4 batches")
def test_going_on_after_the_data_have_grown_is_exact(tmp_path):
    straight = state(learner(None, Grow(4, 50)).fit(3, steps_per_epoch=8))
    learner(tmp_path, Grow(4, 50), InterruptAt(7)).fit(3, steps_per_epoch=8)
    again = learner(tmp_path, Grow(4, 50))
    grow(again.data, 50)
    resumed = state(again.fit(3, steps_per_epoch=8, resume="auto", exact=True))
    assert first_difference(straight, resumed) is None


@pytest.mark.parametrize("growers", [(), (Grow(2, 31),)], ids=["since", "within the epoch"])
def test_items_that_came_are_named_though_they_make_no_more_batches(tmp_path, growers):
    learner(tmp_path, *growers, InterruptAt(3), items=30).fit(3)
    again = learner(tmp_path, items=30)
    grow(again.data, 31)
    with pytest.raises(ValueError, match=r"would not be bit for bit exact: items 30 → 31\."):
        again.fit(3, resume="auto", exact=True)


@pytest.mark.parametrize(
    ("then", "now"), [("SGD", "Adam"), ("Adam", "SGD"), ("RMSprop", "AdamW"), ("Adam", "NAdam")]
)
def test_the_state_of_another_kind_of_optimizer_is_refused(tmp_path, then, now):
    of = {name: partial(getattr(torch.optim, name), lr=0.01) for name in (then, now)}
    tiny_learner(opt=of[then]).fit(1, callbacks=[Checkpoint(tmp_path)])
    learn = tiny_learner(opt=of[now])
    before = capture(learn.state_entries())
    with pytest.raises(
        ValueError, match=rf"with {then}, and the Learner has {now}, whose settings"
    ):
        learn.fit(2, callbacks=[Checkpoint(tmp_path)], resume="auto")
    assert first_difference(before, capture(learn.state_entries())) is None


def test_an_optimizer_of_another_class_with_the_same_settings_goes_on_with_a_warning(tmp_path):
    tiny_learner(opt=torch.optim.Adam).fit(1, callbacks=[Checkpoint(tmp_path)])
    with pytest.warns(ResumeWarning, match="optimizer Adam → AdamW"):
        run = tiny_learner(opt=torch.optim.AdamW).fit(2, resume=tmp_path)
    assert run.n_steps == 8


# What draws from a generator of its own ---------------------------------------------------------


class Noisy:
    """Thirty-two items with noise from the dataset's own generator, or from the global one."""

    def __init__(self, own=True):
        self.noise = torch.Generator().manual_seed(3) if own else None

    def __len__(self):
        return 32

    def __getitem__(self, i):
        return torch.full((3,), i / 32) + torch.randn(3, generator=self.noise), i % 2


class AfterFirstEpoch(Callback):
    """Asks the run to end after the first epoch."""

    replays = False

    def after_epoch(self, run):
        if run.epoch == 0:
            run.interrupt("test")


def in_own_order():
    order = RandomSampler(range(32), generator=torch.Generator().manual_seed(1))
    return DataBunch(DataLoader(Noisy(), 8, sampler=order))


@pytest.mark.parametrize("n", [4, 6])
def test_a_sampler_and_a_dataset_with_generators_of_their_own_go_on_exactly(tmp_path, n):
    straight = state(tiny_learner(data=in_own_order()).fit(3))
    saved = [Checkpoint(tmp_path)]
    tiny_learner(data=in_own_order(), callbacks=[*saved, InterruptAt(n)]).fit(3)
    again = tiny_learner(data=in_own_order(), callbacks=[*saved, InterruptAt(n)])
    run = again.fit(3, resume="auto", exact=True)
    assert first_difference(straight, state(run)) is None


def test_a_probe_leaves_the_generator_of_a_sampler_in_lehrs_loader():
    learn = tiny_learner(data=in_own_order())
    generator = learn.data.train_dl.sampler.indices.generator
    before = generator.get_state()
    learn.profile(4)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    "make",
    [
        partial(DataLoader, Noisy(), 8, num_workers=1),
        partial(TorchLoader, Noisy(own=False), 8, num_workers=1, persistent_workers=True),
    ],
    ids=["lehr", "torch"],
)
def test_what_workers_draw_from_epoch_to_epoch_is_told_of(tmp_path, make):
    callbacks = [Checkpoint(tmp_path), AfterFirstEpoch()]

    def fit(**how):
        return tiny_learner(data=DataBunch(make()), callbacks=callbacks).fit(2, **how)

    fit()
    with pytest.raises(ValueError, match=r"begin with .* as it was at first\. .* exact=True"):
        fit(resume="auto", exact=True)
    with pytest.warns(ResumeWarning, match="train_dl keeps its workers from epoch to epoch"):
        fit(resume="auto")

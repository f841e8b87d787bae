"""A fit tries one validation batch before it trains, and nothing of it stays."""

import contextlib
import gc
import math
import multiprocessing
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lehr import (
    Callback,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    DataBunch,
    Phase,
    accuracy,
    on,
    whole,
)
from lehr.callbacks import (
    Checkpoint,
    CSVLog,
    Device,
    EarlyStopping,
    Metrics,
    ReduceOnPlateau,
    Rehearsal,
    TorchScheduler,
)
from lehr.data import DataLoader as OwnLoader
from lehr.data import Dataset
from lehr.errors import RemoteRankError
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import EventLog, tiny_learner

X, Y = torch.randn(48, 3, generator=torch.Generator().manual_seed(1)), torch.arange(48) % 2
TRAIN = [(X[:16], Y[:16]), (X[16:32], Y[16:32])]
VALID = [(X[32:40], Y[32:40]), (X[40:], Y[40:])]


def broken(pred, target):
    raise ZeroDivisionError("mine")


# What it finds ----------------------------------------------------------------------------------


class NoneMetric:
    def update(self, pred, target): ...
    def compute(self): ...
    def reset(self): ...


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        (broken, ZeroDivisionError),
        (whole(broken), ZeroDivisionError),
        (MulticlassAccuracy(7), (RuntimeError, ValueError)),
        (on(accuracy, lambda out: out["logits"]), (TypeError, IndexError)),
        (lambda pred, target: None, TypeError),
        (NoneMetric(), TypeError),
        (whole(lambda pred, target: "good"), TypeError),
    ],
)
@pytest.mark.parametrize("every", [None, "2 steps"])
def test_a_broken_metric_is_found_before_anything_is_trained(metric, kind, every):
    learn = tiny_learner(metrics={"mine": metric})
    before = capture(learn.state_entries())
    with pytest.raises(kind) as caught:
        learn.fit(2, validate_every=every)
    note = "\n".join(caught.value.__notes__)
    assert "This was found before training began" in note
    assert "Learner(…, rehearsal=False) leaves the try out." in note
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.steps_done == learn.run.n_iter == len(learn.run.history) == 0
    learn = tiny_learner(metrics={"mine": metric}, rehearsal=False)  # the control
    with pytest.raises(kind) as caught:
        learn.fit(2, validate_every=every)
    assert learn.run.n_steps
    assert "before training" not in "\n".join(caught.value.__notes__)


def test_a_broken_validation_set_is_found_too():
    bad = [(X[:8, :2], Y[:8])]
    for valid in (bad, {"good": VALID, "bad": bad}):
        learn = tiny_learner(data=DataBunch(TRAIN, valid))
        with pytest.raises(RuntimeError) as caught:
            learn.fit(1)
        assert "validation" in caught.value.__notes__[0]
        assert learn.run.n_iter == 0


def test_the_error_leaves_no_file(tmp_path):
    log, saving = CSVLog(tmp_path / "log.csv"), Checkpoint(tmp_path / "saved")
    with pytest.raises(ZeroDivisionError):
        tiny_learner([log, saving], metrics=[broken]).fit(1)
    assert not list(tmp_path.glob("*.csv"))
    assert not list(tmp_path.glob("saved/*/*"))


def test_the_shipped_callbacks_do_not_hide_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError):
        tiny_learner([Device("cpu"), Metrics([broken])]).fit(1)


def test_an_error_that_a_left_out_callback_might_have_prevented_is_only_a_warning():
    class Flattens(Callback):
        def begin_batch(self, run):
            run.xb = run.xb.flatten(1)

    images = [(x[:, :, None], y) for x, y in TRAIN]
    learn = tiny_learner([Flattens()], data=DataBunch(images, images))
    match = (
        r"^the validation was tried before training, and failed: RuntimeError.*Flattens took no "
        r"part in it.*declare evaluates = True there; training goes on"
    )
    with pytest.warns(UserWarning, match=match):
        assert learn.fit(1).n_steps == 2
    Flattens.evaluates = True
    assert tiny_learner([Flattens()], data=DataBunch(images, images)).fit(1).n_steps == 2


# Names ------------------------------------------------------------------------------------------


def parts(pred, yb):
    return {"ce": nn.functional.cross_entropy(pred, yb), "size": pred.pow(2).mean()}


def test_a_failure_of_another_process_is_none_that_a_left_out_callback_might_have_prevented():
    class Adds(Callback):
        evaluates = False

        def after_pred(self, run): ...

    def lost(pred, target):
        raise RemoteRankError("rank 1 failed in its program")

    with pytest.raises(RemoteRankError, match="rank 1 failed"):
        tiny_learner([Adds()], metrics={"lost": lost}).fit(1)


@pytest.mark.parametrize("name", ["size", "train_size", "valid_size"])
@pytest.mark.parametrize("metric", [accuracy, lambda pred, target: {"size": 0.5}])
def test_a_part_of_the_loss_that_is_named_like_a_metric_is_found(name, metric):
    learn = tiny_learner(loss_func=parts, metrics={name: metric})
    if metric is not accuracy:
        learn = tiny_learner(loss_func=parts, metrics=[lambda pred, target: {name: 0.5}])
    match = rf"^a metric cannot be named '{name}': the part 'size' of the loss is recorded as size,"
    with pytest.raises(ValueError, match=match) as caught:
        learn.fit(1)
    assert "before training" in "\n".join(caught.value.__notes__)
    assert learn.run.n_iter == 0
    learn = tiny_learner(loss_func=parts, metrics={f"{name}s": accuracy})  # the control
    assert learn.fit(1).n_steps == 4


@pytest.mark.parametrize(
    ("metrics", "match"),
    [
        ({"x": lambda pred, target: [0.5, 0.5], "x_1": accuracy}, "must have different names"),
        ([lambda pred, target: {"epoch": 0.5}], "a metric cannot be named 'epoch'"),
    ],
)
def test_names_that_only_a_value_tells_are_seen(metrics, match):
    reads = []

    def valid():
        reads.append(1)
        return iter(VALID)

    learn = tiny_learner(data=DataBunch(TRAIN, valid), metrics=metrics)
    with pytest.raises(ValueError, match=match):
        learn.fit(1)
    assert learn.run.n_iter == 0
    assert len(reads) == 1  # more data would not mend it


def plateau(opt):
    return torch.optim.lr_scheduler.ReduceLROnPlateau(opt)


@pytest.mark.parametrize(
    "make",
    [
        lambda name, folder: EarlyStopping(name, mode="min"),
        lambda name, folder: ReduceOnPlateau(name, mode="min"),
        lambda name, folder: Checkpoint(folder, monitor=name, mode="min"),
        lambda name, folder: TorchScheduler(plateau, "epoch", monitor=name),
    ],
)
def test_a_column_that_nothing_writes_is_found(make, tmp_path):
    match = (
        r"^monitor='val_loss' is no column of the history that this fit writes\. Did you mean va"
    )
    learn = tiny_learner()
    with pytest.raises(ValueError, match=match) as caught:
        learn.fit(1, [make("val_loss", tmp_path / "a")])
    assert "before training" in "\n".join(caught.value.__notes__)
    assert learn.run.n_iter == 0
    assert tiny_learner().fit(1, [make("valid_loss", tmp_path / "b")]).n_steps == 4  # the control


@pytest.mark.parametrize(
    "name",
    [
        *("train_loss", "valid_loss", "train_ce", "valid_ce", "acc", "train_top", "vector_0"),
        "seconds",
    ],
)
def test_a_column_that_recorder_or_metrics_write_is_known(name):
    watched = [EarlyStopping(name, mode="min"), Metrics({"top": accuracy}, train=True)]
    metrics = {"acc": accuracy, "vector": lambda pred, target: torch.ones(2)}
    assert tiny_learner(watched, loss_func=parts, metrics=metrics).fit(1).n_steps == 4


def test_a_column_of_one_of_several_loaders_is_known():
    def fit(name):
        data = DataBunch(TRAIN, {"a": VALID, "b": VALID})
        return tiny_learner([EarlyStopping(name, mode="min")], data=data, metrics=[accuracy]).fit(1)

    for name in ("a/valid_loss", "b/accuracy", "train_loss"):
        assert fit(name).n_steps == 2
    with pytest.raises(ValueError, match=r"Did you mean [ab]/valid_loss\?"):
        fit("valid_loss")


def test_a_callback_of_ones_own_may_log_any_column():
    class Logs(Callback):
        def after_epoch(self, run):
            run.log("mine", 1.0)

    assert tiny_learner([EarlyStopping("mine", mode="min"), Logs()]).fit(2).n_steps == 8
    with pytest.raises(ValueError, match="monitor='mine' is no column"):
        tiny_learner([EarlyStopping("mine", mode="min")]).fit(2)


# What more data would mend ----------------------------------------------------------------------


def both_classes(pred, target):
    if len(target.unique()) < 2:
        raise ValueError("only one class")
    return 0.5


def test_a_metric_that_needs_more_than_a_batch_is_computed_from_all():
    order = Y[:16].argsort()
    in_order = [(X[i], Y[i]) for i in order.split(4)]
    learn = tiny_learner(data=DataBunch(TRAIN, in_order), metrics=[whole(both_classes)])
    match = r"^a metric cannot be computed from one batch of valid_dl alone \(ValueError\('only"
    with pytest.warns(UserWarning, match=match):
        run = learn.fit(1)
    assert run.history["both_classes"] == [0.5]
    only = tiny_learner(data=DataBunch(TRAIN, in_order[:2]), metrics=[whole(both_classes)])
    with pytest.raises(ValueError, match="only one class") as caught:
        only.fit(1)
    assert "found before training" in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize("kind", [CancelBatch, CancelEpoch, CancelFit])
def test_a_validation_that_a_callback_cuts_short_is_no_error(kind):
    class Cuts(Callback):
        evaluates = True

        def after_pred(self, run):
            if not run.training:
                raise kind

    learn = tiny_learner([Cuts()], metrics={"each": accuracy, "all": whole(accuracy)})
    with contextlib.nullcontext() if kind is not CancelBatch else pytest.warns(match="nothing was"):
        assert learn.fit(1).n_steps == 4


# When -------------------------------------------------------------------------------------------


def tries(learn, *args, **kwargs):
    """How many validation batches the model saw before the first training batch."""
    seen = []

    def look(module, args):
        seen.append(module.training)

    handle = learn.model.register_forward_pre_hook(look)
    try:
        learn.fit(*args, **kwargs)
    finally:
        handle.remove()
    return seen.index(True) if True in seen else len(seen)


def test_it_tries_one_batch_of_each_loader():
    assert tries(tiny_learner(data=DataBunch(TRAIN, VALID)), 1) == 1
    assert tries(tiny_learner(data=DataBunch(TRAIN, {"a": VALID, "b": VALID})), 1) == 2
    assert tries(tiny_learner(data=DataBunch(TRAIN, VALID)), 1, validate_every="1 steps") == 1
    assert tries(tiny_learner(data=DataBunch(TRAIN, VALID)), steps=3) == 1


def test_a_fit_that_never_validates_or_trains_tries_nothing():
    assert tries(tiny_learner(data=DataBunch(TRAIN)), 1) == 0
    assert tries(tiny_learner(data=DataBunch(TRAIN, VALID)), 0) == 0


def test_it_can_be_switched_off():
    assert tries(tiny_learner(data=DataBunch(TRAIN, VALID), rehearsal=False), 1) == 0


def test_what_the_last_fit_has_validated_is_not_tried_again():
    learn = tiny_learner(data=DataBunch(TRAIN, VALID), metrics=[accuracy])
    assert [tries(learn, 1) for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda learn: setattr(learn, "data", DataBunch(TRAIN, list(VALID))),
        lambda learn: learn.metrics.append(MulticlassAccuracy(2)),
        lambda learn: setattr(learn, "metrics", [on(accuracy, lambda out: out)]),
        lambda learn: setattr(learn, "loss_func", lambda pred, yb: pred.logsumexp(1).mean()),
        lambda learn: setattr(learn, "split_batch", lambda batch: batch),
        lambda learn: learn.callbacks.append(Device("cpu")),
    ],
)
def test_what_is_new_is_tried(change):
    learn = tiny_learner(data=DataBunch(TRAIN, VALID), metrics=[accuracy])
    learn.fit(1)
    change(learn)
    assert tries(learn, 1) == 1


def test_after_a_fit_that_did_not_get_to_validate_it_is_tried_again():
    class Stops(Callback):
        def after_step(self, run):
            raise CancelFit

    learn = tiny_learner(data=DataBunch(TRAIN, VALID))
    learn.fit(1, [Stops()])
    assert tries(learn, 1) == 1


# Without a trace --------------------------------------------------------------------------------


class Sensitive(nn.Module):
    """Everything that it does leaves something behind, in evaluation as well."""

    def __init__(self, lazy):
        super().__init__()
        first = nn.LazyLinear(4) if lazy else nn.Linear(3, 4)
        self.body = nn.Sequential(first, nn.BatchNorm1d(4), nn.Dropout(0.3))
        self.head = nn.Linear(4, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        with torch.no_grad():
            self.head.bias.add_(0.01)
        np.random.rand(), random.random(), torch.rand(())
        return self.head(self.body(x)) * (1 + 0.001 * self.seen)


class Draws:
    """A loader that draws from a generator of its own."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)
        self.at = 0

    def __iter__(self):
        while self.at < 16:
            self.at += 8
            yield X[torch.randperm(48, generator=self.generator)[:8]], Y[:8]
        self.at = 0

    def __len__(self):
        return 2


def sensitive(rehearsal, valid=None, *, lazy=True, **kwargs):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    model = Sensitive(lazy)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = DataBunch(DataLoader(TensorDataset(X, Y), 8, shuffle=True), valid or Draws())
    return tiny_learner(model=model, opt=opt, data=data, rehearsal=rehearsal, **kwargs)


class Counts(Callback):
    """Counts everything, and takes no part in evaluations."""

    def __init__(self):
        self.count = 0

    def begin_fit(self, run):
        self.count += 1

    def after_batch(self, run):
        self.count += 1


def outcome(run):
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history.rows]
    states = {
        name: entry
        for name, entry in run.state_entries().items()
        if name not in ("history", "callbacks.recorder", "callbacks.rehearsal")
    }
    return [rows, run.history["loss"], run.model.calls, capture(states)]


LOADERS = {
    "own": lambda: OwnLoader(Dataset(X, Y), 8),
    "shuffled": lambda: DataLoader(TensorDataset(X, Y), 8, shuffle=True, generator=seeded()),
    "drawing": Draws,
    "function": lambda: lambda: iter(VALID),
}


def seeded():
    return torch.Generator().manual_seed(9)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("every", [None, "3 steps"])
def test_a_training_has_the_same_bits_with_and_without(loader, every):
    metrics = {"acc": accuracy, "obj": MulticlassAccuracy(2), "all": whole(accuracy)}

    def trained(rehearsal, lr=0.1):
        learn = sensitive(rehearsal, LOADERS[loader](), metrics=metrics)
        learn.opt.param_groups[0]["lr"] = lr
        counts = Counts()
        found = outcome(learn.fit(2, [counts], validate_every=every))
        return [*found, counts.count, torch.rand(1), np.random.rand(), random.random()]

    assert first_difference({"it": trained(False)}, {"it": trained(True)}) is None
    assert first_difference({"it": trained(False)}, {"it": trained(True, lr=0.11)})  # the control


def test_a_fit_that_is_resumed_in_mid_epoch_has_the_same_bits(tmp_path):
    straight = outcome(sensitive(False, lazy=False).fit(2))

    class Stops(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == 4:
                run.interrupt("enough")

    sensitive(True, lazy=False, callbacks=[Checkpoint(tmp_path)]).fit(2, [Stops()])
    resumed = sensitive(True, lazy=False, callbacks=[Checkpoint(tmp_path)])
    with pytest.warns(UserWarning, match="cannot be entered in the middle"):
        run = resumed.fit(2, resume="auto")
    assert "Rehearsal" in [type(callback).__name__ for callback in run.callbacks]
    rows, losses, _, states = outcome(run)
    assert [rows, losses] == straight[:2]
    assert first_difference({"it": straight[3]["model"]}, {"it": states["model"]}) is None
    other = outcome(sensitive(False, lazy=False).fit(1))
    assert first_difference({"it": other[3]["model"]}, {"it": states["model"]})  # the control


def test_metrics_and_evaluating_callbacks_are_as_they_were():
    class Wraps(Callback):
        def __init__(self):
            self.begun, self.batches = 0, 0

        def begin_fit(self, run):
            self.begun += 1

        def predict(self, run, proceed):
            self.batches += 1
            proceed()

    class First(Callback):
        def begin_epoch(self, run):
            self.seen = self.seen_of.begun, self.seen_of.batches, metric.compute()

    metric = MulticlassAccuracy(2, average="micro")
    metric.update(torch.eye(2), torch.tensor([0, 1]))
    wraps, first = Wraps(), First()
    first.seen_of = wraps
    tiny_learner([wraps, first], metrics=[metric]).fit(1)
    assert first.seen == (1, 0, 1.0)


def test_callbacks_that_only_look_on_do_not_see_it():
    spy, quiet = EventLog(), EventLog()
    tiny_learner([spy]).fit(1)
    tiny_learner([quiet], rehearsal=False).fit(1)
    assert spy.log == quiet.log


@pytest.mark.parametrize("after", [(), ("Recorder",), ("Rehearsal",)])
@pytest.mark.parametrize("phase", [*Phase])
def test_callbacks_that_evaluate_take_part_and_have_begun_once(phase, after):
    heard = []

    class Normalises(Callback):
        evaluates = True

        def begin_fit(self, run):
            heard.append("begin")
            self.scale = 0.5
            run.defer(lambda: heard.append("end"))

        @contextlib.contextmanager
        def around_fit(self, run):
            heard.append("around")
            yield

        def after_fit(self, run):
            heard.append("over")

        def begin_batch(self, run):
            heard.append(run.training)
            run.xb = run.xb * self.scale

    Normalises.phase, Normalises.after = phase, after
    tiny_learner([Normalises()], items=8).fit(1)
    first = ["begin", False]
    if after == ("Rehearsal",):  # it has to begin later, so a copy begins before
        first = ["begin", False, "over", "end", "begin"]
    assert heard == ["around", *first, True, False, "over", "end"]


def test_a_scheduler_is_made_once():
    made = []

    def make(opt):
        made.append(torch.optim.lr_scheduler.ExponentialLR(opt, 0.5))
        return made[-1]

    tiny_learner().fit(1, [TorchScheduler(make, "step")])
    assert len(made) == 1


def test_one_that_takes_part_without_a_beginning_hears_one_end():
    heard = []

    class Ends(Callback):
        evaluates = True

        def after_fit(self, run):
            heard.append("over")

    tiny_learner([Ends()]).fit(1)
    assert heard == ["over"]


def test_hooks_of_callbacks_that_only_look_on_do_not_see_it():
    class Hooks(Callback):
        def begin_fit(self, run):
            self.calls = []
            run.defer(run.model.register_forward_hook(lambda *args: self.calls.append(1)).remove)

    hooks = Hooks()
    tiny_learner([hooks], data=DataBunch(TRAIN, VALID)).fit(1)
    assert len(hooks.calls) == 4


def test_a_callback_that_only_makes_something_at_the_beginning_does_not_hide_a_broken_metric():
    class Opens(Callback):
        def begin_fit(self, run): ...

    with pytest.raises(ZeroDivisionError):
        tiny_learner([Opens()], metrics=[broken]).fit(1)
    with pytest.warns(UserWarning, match="Opens took no part"), pytest.raises(RuntimeError):
        tiny_learner([Opens()], data=DataBunch(TRAIN, [(X[:8, :2], Y[:8])])).fit(1)


def test_warnings_of_the_try_are_not_shown():
    def warns(pred, target):
        warnings.warn("mine", stacklevel=2)
        return 0.0

    with pytest.warns(UserWarning, match="mine") as caught:
        tiny_learner(metrics=[warns], data=DataBunch(TRAIN, VALID)).fit(1)
    assert len(caught) == 2  # those of the validation


def test_what_cannot_be_copied_is_not_tried_and_a_warning_says_so():
    class Stubborn(NoneMetric):
        def compute(self):
            return 0.5

        def __deepcopy__(self, memo):
            raise RuntimeError("never")

    match = r"^the validation is not tried before training: RuntimeError\('never'\)\. Learner\(…, "
    with pytest.warns(UserWarning, match=match):
        assert tiny_learner(metrics=[Stubborn()]).fit(1).history["stubborn"] == [0.5]


# Loaders ----------------------------------------------------------------------------------------


class Stream:
    """A loader that can be read only once."""

    def __init__(self):
        self.source = iter(VALID)

    def __iter__(self):
        yield from self.source


class Inner:
    """Hands out the iterator of an object inside."""

    def __init__(self):
        self.inner = Stream()

    def __iter__(self):
        return self.inner.source


def once_in_a_function():
    source = iter(VALID)
    return lambda: source


@pytest.mark.parametrize("make", [Stream, Inner, once_in_a_function])
def test_a_loader_that_can_be_read_only_once_is_left_out_and_a_warning_says_so(make):
    learn = tiny_learner(data=DataBunch(TRAIN, make()), metrics=[accuracy])
    match = r"^valid_dl is not tried before training: it reads '(inner\.)?source', which can be "
    with pytest.warns(UserWarning, match=match):
        value = learn.fit(1).history["accuracy"]
    assert (
        value
        == tiny_learner(data=DataBunch(TRAIN, VALID), metrics=[accuracy]).fit(1).history["accuracy"]
    )


def test_no_more_than_one_batch_is_read():
    class Hidden:  # what it reads cannot be found
        __slots__ = ("read", "source")

        def __init__(self):
            self.source, self.read = iter([*VALID, *VALID]), 0

        def __iter__(self):
            return self

        def __next__(self):
            batch = next(self.source)
            self.read += 1
            return batch

    class Wrapper:
        __slots__ = ("hidden",)

        def __init__(self):
            self.hidden = Hidden()

        def __iter__(self):
            return self.hidden

    class Looks(Callback):
        def begin_epoch(self, run):
            self.read = loader.hidden.read

    loader, looks = Wrapper(), Looks()
    tiny_learner([looks], data=DataBunch(TRAIN, loader)).fit(1)
    assert (looks.read, loader.hidden.read) == (1, 4)


def test_the_loaders_beside_it_are_tried():
    learn = tiny_learner(data=DataBunch(TRAIN, {"once": Stream(), "bad": [(X[:8, :2], Y[:8])]}))
    with pytest.warns(UserWarning, match="valid_dl once is not tried"), pytest.raises(RuntimeError):
        learn.fit(1)
    assert learn.run.n_iter == 0


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("persistent", [True, False])
def test_no_worker_is_lost_and_none_is_left(own, persistent):
    if own:
        valid = OwnLoader(Dataset(X, Y), 8, num_workers=2)
    else:
        valid = DataLoader(TensorDataset(X, Y), 8, num_workers=2, persistent_workers=persistent)
    before = set(multiprocessing.active_children())
    run = tiny_learner(data=DataBunch(TRAIN, valid), metrics=[accuracy]).fit(2)
    assert len(run.history["accuracy"]) == 2
    assert len(set(multiprocessing.active_children()) - before) == (2 if own or persistent else 0)
    if persistent and not own:
        valid._iterator._shutdown_workers()  # collected in a cycle, torch's would wait for 10 s
    del run, valid
    gc.collect()


# The callback itself ----------------------------------------------------------------------------


def test_it_is_due_where_a_callback_declares_that_it_measures_something_new():
    class Measures(Callback):
        def __init__(self, *measures):
            self.measures = measures

    learn, known = tiny_learner(), object()
    learn.fit(1, callbacks=[Measures(known)])
    assert not Rehearsal.is_due(learn, [Measures(known)])
    assert Rehearsal.is_due(learn, [Measures(object())])


def test_it_is_shown_where_it_is_due():
    learn = tiny_learner()
    assert "Rehearsal" in learn.explain()
    learn.fit(1)
    assert "Rehearsal" not in learn.explain()
    assert Rehearsal.is_due(tiny_learner(), [])
    assert not Rehearsal.is_due(tiny_learner(data=DataBunch(TRAIN)), [])


def replace_head(learn):
    learn.model[2] = nn.Linear(4, 3)
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=0.1)


def widen(learn):
    learn.model[2].bias.data = torch.zeros(3)
    learn.model[2].weight.data = torch.zeros(3, 4)


def append(learn):
    learn.model.append(nn.Linear(2, 3))
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=0.1)


@pytest.mark.parametrize("change", [replace_head, widen, append])
def test_it_is_due_again_when_what_is_in_the_model_has_changed(change):
    def two_classes(pred, target):
        assert pred.shape[1] == 2, "more than two"
        return pred.mean()

    learn = tiny_learner(metrics=[two_classes])
    learn.fit(1)
    learn.model[1].p = 0.3  # the control: the modules are the same
    assert not Rehearsal.is_due(learn, learn.everybody())
    change(learn)
    done = learn.steps_done
    with pytest.raises(AssertionError, match="more than two") as caught:
        learn.fit(1)
    assert "This was found before training began" in "\n".join(caught.value.__notes__)
    assert learn.steps_done == done


def test_it_is_due_again_when_what_is_in_the_loss_function_has_changed():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.CrossEntropyLoss()

        def forward(self, pred, yb):
            return self.inner(pred, yb)

    learn = tiny_learner(loss_func=Loss())
    learn.fit(1)
    assert "Rehearsal" not in learn.explain()
    learn.loss_func.inner = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert "Rehearsal" in learn.explain()


def test_the_first_validation_has_the_batch_that_was_tried():
    seen = []

    class Looks(Callback):
        evaluates = True

        def begin_batch(self, run):
            if not run.training:
                seen.append(run.xb)

    tiny_learner([Looks()], data=DataBunch(TRAIN, OwnLoader(Dataset(X, Y), 8, shuffle=True))).fit(1)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_a_loss_that_is_nan_is_no_error():
    def loss(pred, yb):
        return pred.sum() * (0.0 if pred.requires_grad else math.nan)

    assert tiny_learner(loss_func=loss).fit(1).n_steps == 4


@pytest.mark.parametrize("skips", [True, False])
def test_targets_that_spoil_the_first_validation_are_named(skips):
    def loss(pred, yb):
        known = yb.isfinite() if skips else slice(None)
        return (pred[known] - yb[known]).square().mean()

    yb = torch.zeros(8, 2)
    yb[2, 0] = yb[5] = math.nan
    data = DataBunch([(torch.ones(8, 3), torch.zeros(8, 2))], [(torch.ones(8, 3), yb)])
    learn = tiny_learner(data=data, loss_func=loss)
    if skips:
        learn.fit(1)
        return
    match = r"the loss of the first batch of valid_dl is nan, and its targets hold 3 nan of 16 num"
    with pytest.warns(UserWarning, match=match):
        learn.fit(1)

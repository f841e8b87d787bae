"""The recorder keeps what happened, and draws it."""

import random
import types

import pytest
import torch
from matplotlib.figure import Figure

from lehr import Callback, CancelBatch
from lehr.callbacks import ParamScheduler, Recorder
from lehr.engine import ALONE
from lehr.events import Phase
from lehr.record.history import History
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten, unflatten
from lehr.state.snapshot import capture, restore
from lehr.testing import tiny_learner


def test_loss_and_lr_of_every_training_batch_and_none_from_validation():
    run = tiny_learner(items=98 * 8).fit(3)
    assert len(run.recorder.losses) == len(run.recorder.lrs) == run.n_iter == 294
    assert all(isinstance(value, float) for value in run.recorder.losses)


def test_the_lr_recorded_is_the_one_the_batch_used():
    schedule = sched_lin(0.3, 0.1)
    run = tiny_learner(items=98 * 8).fit(3, callbacks=[ParamScheduler("lr", schedule)])
    assert run.recorder.lrs == [schedule(i / 294) for i in range(294)]
    assert run.recorder.lrs[-1] > 0.1  # position 1 is never reached


class Halve(Callback):
    """A user's own schedule, which moves on as soon as the step was made."""

    state = ()

    def _halve(self, run, proceed=lambda: None):
        proceed()
        if run.training:
            run.opt.param_groups[0]["lr"] /= 2


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("moment", ["step", "after_step", "zero_grad", "after_batch"])
def test_the_lr_recorded_is_the_one_of_the_step_whenever_a_schedule_moves_on(moment, phase):
    own = type("Own", (Halve,), {"phase": phase, moment: Halve._halve})()
    if moment == "after_batch" and phase < Phase.MEASURE:
        own.after = ("Recorder",)
    run = tiny_learner().fit(2, callbacks=[own])
    assert run.recorder.lrs == run.history["lr"] == [0.1 / 2**i for i in range(8)]


def test_the_lr_recorded_is_the_one_of_the_step_also_where_it_is_a_tensor():
    class Own(Halve):
        def after_step(self, run):
            run.opt.param_groups[0]["lr"].div_(2)

    learn = tiny_learner()
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=torch.tensor(0.1))
    run = learn.fit(1, callbacks=[Own()])
    assert run.recorder.lrs == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_a_batch_that_was_cancelled_has_the_lr_of_its_own():
    class Cancel(Halve):
        def after_loss(self, run):
            if run.training and run.batch_index == 1:
                raise CancelBatch

        def after_step(self, run):
            run.opt.param_groups[0]["lr"] /= 2

    run = tiny_learner().fit(1, callbacks=[Cancel()])
    assert run.recorder.lrs == [0.1, 0.05, 0.05, 0.025]


def test_the_lr_is_that_of_the_last_group_whether_there_are_one_or_more():
    learn = tiny_learner()
    first, *rest = learn.model.parameters()
    learn.opt = torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": rest, "lr": 0.25}])
    assert set(learn.fit(1).recorder.lrs) == {0.25}


def test_an_lr_in_a_tensor_is_recorded_as_it_was():
    learn = tiny_learner()
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=torch.tensor(0.1))
    run = learn.fit(1, callbacks=[ParamScheduler("lr", sched_lin(0.4, 0.0))])
    assert run.recorder.lrs == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_losses_are_weighted_by_items():
    """78 batches of 128 worth 1 and one of 16 worth 0 make 0.9984, not 0.98734."""
    from lehr import DataBunch

    batches = [(torch.ones(128, 3), torch.ones(128))] * 78 + [(torch.zeros(16, 3), torch.zeros(16))]
    learn = tiny_learner(
        data=DataBunch([(torch.ones(4, 3), torch.ones(4))], batches),
        loss_func=lambda pred, yb: pred.sum() * 0 + yb.mean(),
    )
    assert learn.fit(1).history["valid_loss"][0] == pytest.approx(0.9984, abs=5e-5)
    batch_means = [1.0] * 78 + [0.0]
    assert sum(batch_means) / 79 == pytest.approx(0.98734, abs=5e-6)  # the unweighted mean


def test_a_cancelled_batch_leaves_no_loss_and_no_stale_number():
    class CancelSecond(Callback):
        def begin_batch(self, run):
            if run.batch_index == 1:
                raise CancelBatch

    run = tiny_learner([CancelSecond()]).fit(1)
    assert run.history.series["loss"].batches == [0, 2, 3]


def test_the_loss_is_recorded_as_the_user_saw_it_whatever_backward_does_to_it():
    class Scale(Callback):
        def backward(self, run, proceed):
            loss, run.loss = run.loss, run.loss * 1000
            proceed()
            run.loss = loss

    class Halve(Callback):
        def after_backward(self, run):
            for p in run.trained_parameters():
                p.grad.div_(1000)

    a, b = tiny_learner([Scale(), Halve()]).fit(1), tiny_learner().fit(1)
    assert a.history["loss"] == pytest.approx(b.history["loss"], rel=1e-5)


def test_rows_have_their_columns_and_validation_in_between_has_its_own_rows():
    run = tiny_learner().fit(2, validate_every="3 steps")
    assert run.history["step"] == [3, 4, 6, 8]
    assert [v is None for v in run.history["valid_loss"]] == [False, True, False, False]
    parts = run.history["train_loss"]
    losses = run.history["loss"]
    assert parts[0] == pytest.approx(sum(losses[:3]) / 3)
    assert parts[1] == pytest.approx(losses[3])
    assert parts[2] == pytest.approx(sum(losses[4:6]) / 2)


def test_no_number_is_read_from_the_device_while_training(monkeypatch):
    reads = []

    class Count(Callback):
        def begin_train(self, run):
            monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # on the CPU to read costs nothing
            for name in ("item", "__float__", "tolist", "cpu"):
                original = getattr(torch.Tensor, name)
                monkeypatch.setattr(
                    torch.Tensor,
                    name,
                    lambda t, *a, o=original, n=name: reads.append(n) or o(t, *a),
                )

        def after_train(self, run):
            monkeypatch.undo()
            self.reads = list(reads)

    count = Count()
    count.phase = 1
    run = tiny_learner([count], items=600 * 8)
    run.fit(1)
    assert count.reads in ([], ["__float__"])  # one for the row, none for the 600 steps


def test_plots_are_figures_with_labels():
    run = tiny_learner().fit(2, callbacks=[ParamScheduler("momentum", sched_lin(0.9, 0.8))])
    for figure, label in (
        (run.recorder.plot_loss(), "loss"),
        (run.recorder.plot_lr(), "lr"),
        (run.recorder.plot("momentum"), "momentum"),
    ):
        assert isinstance(figure, Figure)
        (ax,) = figure.axes
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("training batch", label)
        assert len(ax.lines[0].get_xdata()) == 8
    assert len(run.recorder.plot_loss().axes[0].lines) == 2
    own = Figure().subplots(2)
    assert run.recorder.plot_loss(own[1]) is own[1].figure
    assert [len(ax.lines) for ax in own] == [0, 2]


def test_plotting_what_was_not_recorded_says_what_was():
    run = tiny_learner().fit(1)
    with pytest.raises(KeyError, match=r"no series 'los'. Did you mean loss\?"):
        run.recorder.plot("los")
    with pytest.raises(KeyError, match="Nothing was recorded yet"):
        tiny_learner().fit(0).recorder.plot("loss")
    assert tiny_learner().fit(0).recorder.losses == []


def test_ones_own_recorder_replaces_the_default():
    mine = Recorder()
    assert tiny_learner([mine]).fit(1).recorder is mine


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_an_lr_in_a_tensor_costs_no_reads_either(monkeypatch, lr):
    learn = tiny_learner(items=600 * 8)
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=lr)
    learn.data.valid_dl = None
    reads = []

    class Count(Callback):
        phase = 1

        def begin_train(self, run):
            monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # on the CPU to read costs nothing
            for name in ("item", "__float__", "tolist"):
                original = getattr(torch.Tensor, name)
                monkeypatch.setattr(
                    torch.Tensor, name, lambda t, *a, o=original: reads.append(1) or o(t, *a)
                )

        def after_train(self, run):
            monkeypatch.undo()

    learn.fit(1, callbacks=[Count()])
    assert len(reads) <= 2  # none for the 600 steps


def test_ones_own_recorder_may_be_a_subclass():
    class Mine(Recorder):
        pass

    assert len(tiny_learner([Mine()]).fit(1).history["loss"]) == 4


def test_a_loss_that_is_no_number_is_refused_in_validation_too():
    from functools import partial

    learn = tiny_learner(loss_func=partial(torch.nn.functional.cross_entropy, reduction="none"))
    with pytest.raises(ValueError, match="a mean is over numbers") as caught:
        learn.validate()
    assert "it must be one number" in "".join(caught.value.__notes__)


# What is kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_cpu", [True, False])
def test_a_loss_in_a_tensor_that_is_used_again_is_recorded_as_it_was(monkeypatch, is_cpu):
    """A compiled or captured step writes every loss to the same place."""
    monkeypatch.setattr(torch.Tensor, "is_cpu", is_cpu)  # False: as on a device
    place, seen = torch.zeros(()), {"train": [], "valid": []}

    class Reuse(Callback):
        def compute_loss(self, run, proceed):
            proceed()
            place.copy_(run.loss.detach())
            seen["train" if run.training else "valid"].append(place.item())
            run.loss = place

        def backward(self, run, proceed):
            pass

        def after_loss(self, run):
            run.log("again", run.loss)

    def same(pred, yb):
        return place

    learn = tiny_learner([Reuse()], metrics=[same])
    run = learn.fit(1)
    assert run.history["loss"] == run.history["again"] == seen["train"]
    assert len(set(seen["train"])) == 4
    mean = pytest.approx(sum(seen["valid"]) / len(seen["valid"]))
    row = run.history.rows[-1]
    assert row["valid_loss"] == row["same"] == row["valid_again"] == mean


@pytest.mark.parametrize("is_cpu", [True, False])
def test_a_loss_that_is_a_part_of_much_keeps_only_itself(monkeypatch, is_cpu):
    monkeypatch.setattr(torch.Tensor, "is_cpu", is_cpu)
    learn = tiny_learner(loss_func=lambda pred, yb: (pred - 1).square().flatten()[:1])
    held = []

    class Look(Callback):
        def after_batch(self, run):
            held.extend(loss for _, loss, _, _ in run.recorder._gathered)

    run = learn.fit(1, callbacks=[Look()])
    assert [float(loss) for loss in held[-4:]] == run.history["loss"]
    for loss in held:
        assert isinstance(loss, float) if is_cpu else loss.untyped_storage().nbytes() == 4


# State ------------------------------------------------------------------------------------------


def by_hand(n, seed, every=None):
    """What a run of one epoch tells the recorder, event by event; ``valid`` stands in between."""
    rng = random.Random(seed)
    yield "begin_fit", {}
    yield "begin_epoch", {}
    yield "begin_train", {}
    for batch in range(1, n + 1):
        loss = torch.tensor(rng.uniform(0, 1), dtype=torch.float64)
        weight = 5 if batch == n else 8
        fields = {"n_iter": batch, "n_steps": batch, "loss": loss, "weight": weight}
        yield "after_batch", {**fields, "training": True}
        if every and batch % every == 0:
            yield "begin_validate", {"training": False}
            yield "after_batch", {"loss": torch.tensor(0.25)}
            yield "after_validate", {}
    yield "after_train", {"training": True}
    yield "after_epoch", {}
    yield "after_fit", {}


class Stand:
    """A run and its recorder, told by hand."""

    def __init__(self):
        opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        self.undos = []
        self.run = types.SimpleNamespace(
            history=History(),
            seed=0,
            epoch=0,
            n_steps=0,
            n_iter=0,
            opt=opt,
            valid_names=[""],
            valid_name="",
            training=True,
            loss=None,
            loss_parts=None,
            engine=ALONE,
            weight=8,
            window=types.SimpleNamespace(loss_is_mean=True),
            defer=self.undos.append,
        )
        self.recorder = Recorder()
        self.entries = {"history": self.run.history, "recorder": self.recorder}

    def tell(self, event, fields):
        vars(self.run).update(fields)
        getattr(self.recorder, event)(self.run)
        if event in ("after_validate", "after_epoch", "after_fit"):  # scopes end
            for undo in self.undos[1:]:
                undo()
            del self.undos[1:]

    def numbers(self):
        content = self.run.history.to_dict()
        return {**content, "rows": [{**row, "seconds": None} for row in content["rows"]]}


def stand_after(events, look=lambda stand: None):
    stand = Stand()
    for event, fields in events:
        stand.tell(event, fields)
        look(stand)
    return stand


@pytest.mark.parametrize("every", [None, 100, 256, 300])
def test_no_bit_depends_on_who_looks_and_when(every):
    for seed in range(5):
        events, rng = list(by_hand(700, seed, every)), random.Random(seed)

        def look(stand, rng=rng):
            if rng.random() < 0.05:
                _ = stand.run.history.rows, stand.run.history.series
            if rng.random() < 0.02:
                capture(stand.entries)

        assert stand_after(events).numbers() == stand_after(events, look).numbers()
        assert stand_after(events).numbers()["rows"][0]["train_loss"] == first_row(events, every)


def first_row(events, every):
    """The mean, written out: 256 at a time, and what has one weight together."""
    losses = [f["loss"] for event, f in events if event == "after_batch" and "n_iter" in f]
    total = weight = 0.0
    for part in torch.stack(losses[: every or 699]).split(256):
        total, weight = total + part.sum() * 8, weight + 8 * len(part)
    if every is None:
        total, weight = total + losses[-1:][0].sum() * 5, weight + 5
    return float(total) / weight


def test_to_fold_when_somebody_looks_would_change_bits():
    apart = 0
    for seed in range(20):
        events, rng = list(by_hand(700, seed)), random.Random(seed)

        def fold(stand, rng=rng):
            if rng.random() < 0.05:
                stand.recorder._fold()

        quiet, folding = stand_after(events), Stand()
        for event, fields in events:
            folding.tell(event, fields)
            if event == "after_batch":
                fold(folding)
        apart += quiet.numbers() != folding.numbers()
    assert apart > 5


@pytest.mark.parametrize("every", [None, 100])
@pytest.mark.parametrize("stop", [0, 1, 57, 147, 256, 257, 300, 699, -4, -3, -2, -1])
@pytest.mark.parametrize("looked", [False, True])
def test_a_run_goes_on_as_if_it_had_never_stopped(every, stop, looked):
    events = list(by_hand(700, seed=1, every=every))
    ends = ("begin_validate", "after_train", "after_epoch", "after_fit")
    stop = [i for i, (event, f) in enumerate(events) if event in ends or "n_iter" in f][stop]
    whole = stand_after(events)
    first = stand_after(events[:stop])
    if looked:
        _ = first.run.history.series
    snapshot = unflatten(*flatten(capture(first.entries)))
    second = stand_after(events[:3])  # what is heard again
    vars(second.run).update({**vars(first.run), "history": second.run.history})
    second.run.defer = second.undos.append
    restore(second.entries, snapshot)
    again = capture(second.entries)
    again["recorder"]["unfinished"]["seconds"] = snapshot["recorder"]["unfinished"]["seconds"]
    assert first_difference(snapshot, again) is None
    for event, fields in events[stop:]:
        second.tell(event, fields)
    assert second.numbers() == whole.numbers()
    assert second.recorder._validated == whole.recorder._validated


def test_without_its_state_the_row_would_lack_what_was_before():
    events = list(by_hand(700, seed=1))
    first, second = stand_after(events[:300]), stand_after(events[:3])
    second.run.history.load_state_dict(capture(first.entries)["history"])
    for event, fields in events[300:]:
        second.tell(event, fields)
    assert second.numbers() != stand_after(events).numbers()


def test_the_clock_of_a_row_goes_on(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("lehr.callbacks.measure.recorder.perf_counter", lambda: clock[0])
    events = list(by_hand(10, seed=1))
    first = stand_after(events[:3])
    clock[0] += 7
    snapshot = capture(first.entries)
    clock[0] += 1000
    second = stand_after(events[:3])
    restore(second.entries, snapshot)
    clock[0] += 2
    for event, fields in events[3:]:
        second.tell(event, fields)
    assert second.run.history["seconds"] == [9.0]


def test_between_fits_the_clock_stands_still():
    recorder = Recorder()
    tiny_learner([recorder]).fit(1)
    states = [capture({"it": recorder}) for _ in range(2)]
    assert first_difference(*states) is None
    fresh = Recorder()
    restore({"it": fresh}, states[0])
    assert first_difference(states[0], capture({"it": fresh})) is None

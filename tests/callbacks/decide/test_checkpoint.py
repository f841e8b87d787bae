"""Saving everything from time to time."""

import errno
import shutil
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch, Phase, accuracy
from lehr.callbacks import Checkpoint, ParamScheduler, StopOnNonFinite
from lehr.errors import ResumeWarning
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.disk import capsule
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def saved(folder, what="step"):
    return [one.manifest[what] for one in CheckpointFolder(folder).all()]


class InterruptAt(Callback):
    """Asks the run to end in the n-th training batch."""

    phase = Phase.REPORT
    replays = False

    def __init__(self, n, event="after_batch"):
        self.n, self.event = n, event

    def _look(self, run):
        if run.n_iter >= self.n:
            run.interrupt("test")

    def after_batch(self, run):
        if self.event == "after_batch" and run.training:
            self._look(run)

    def begin_validate(self, run):
        if self.event == "begin_validate":
            self._look(run)


@pytest.mark.parametrize(
    ("every", "fit", "steps"),
    [
        ("3 steps", {"epochs": 2}, [0, 3, 6, 8]),
        ("1 epoch", {"epochs": 2}, [0, 4, 8]),
        ("2 epochs", {"epochs": 3}, [0, 8, 12]),
        ("100 minutes", {"epochs": 2}, [0, 8]),
        ("2 steps", {"steps": 5}, [0, 2, 4, 5]),
        ("3 steps", {"steps": 7, "validate_every": "2 steps"}, [0, 3, 6, 7]),
    ],
)
def test_it_saves_at_the_beginning_whenever_due_and_at_the_end(tmp_path, every, fit, steps):
    tiny_learner([Checkpoint(tmp_path, every=every, keep=9)]).fit(**fit)
    assert saved(tmp_path) == steps


def test_time_counts_from_the_last_save(tmp_path, monkeypatch):
    now = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    tiny_learner([Checkpoint(tmp_path, every="5 seconds", keep=20)]).fit(4)
    assert 3 < len(saved(tmp_path)) < 16


def test_in_a_window_it_waits_for_the_step(tmp_path):
    class Window(Callback):
        batches_per_step = 2

        def begin_batch(self, run):
            run.closes = run.batch_index % 2 == 1

    tiny_learner([Window(), Checkpoint(tmp_path, every="1 steps", keep=20)]).fit(1)
    assert saved(tmp_path, "batch")[1:-1] == [1, 3]


def test_the_first_the_newest_and_the_best_stay(tmp_path):
    class Column(Callback):
        values = iter([5.0, 1.0, 3.0, 4.0, 6.0, 7.0])

        def after_validate(self, run):
            run.history.log_row("score", next(self.values))

    saver = Checkpoint(tmp_path, keep=2, monitor="score", mode="min")
    tiny_learner([Column(), saver]).fit(6)
    assert saved(tmp_path) == [0, 8, 20, 24]
    assert saver.newest == CheckpointFolder(tmp_path).all()[-1].path


def test_without_a_better_value_nothing_more_is_saved(tmp_path):
    tiny_learner(
        [Checkpoint(tmp_path, every="50 epochs", keep=9, monitor="accuracy", mode="max")],
        metrics=[accuracy],
        opt=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    ).fit(4)
    assert len(saved(tmp_path)) <= 3  # the first, the first value, the last


def test_an_interrupted_validation_is_repeated(tmp_path):
    straight = tiny_learner().fit(2)
    folder = tmp_path / "a"
    stop = InterruptAt(8, "begin_validate")
    run = tiny_learner([Checkpoint(folder, every="50 epochs"), stop]).fit(2)
    assert run.interrupted == "test"
    assert CheckpointFolder(folder).all()[-1].manifest["stage"] == "trained"
    resumed = tiny_learner([Checkpoint(folder), InterruptAt(99)]).fit(2, resume="auto")
    assert resumed.history["valid_loss"] == straight.history["valid_loss"]
    assert resumed.history["valid_loss"] != straight.history["valid_loss"][:1] * 2


def test_another_runs_folder_is_refused_and_left_alone(tmp_path):
    tiny_learner([Checkpoint(tmp_path)]).fit(1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    with pytest.raises(FileExistsError, match=r"holds checkpoints of another run .* resume="):
        tiny_learner([Checkpoint(tmp_path)]).fit(1)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}


def test_one_object_may_save_fit_after_fit(tmp_path):
    learn = tiny_learner([Checkpoint(tmp_path, keep=9)])
    learn.fit(1)
    learn.fit(1)
    assert saved(tmp_path, "began_at") == [0, 0, 4, 4]


@pytest.mark.parametrize("background", [False, True])
def test_an_error_of_the_disk_surfaces_and_the_older_ones_stay(tmp_path, monkeypatch, background):
    real, calls = CheckpointFolder.save, []

    def fails(self, snapshot, info):
        calls.append(info["step"])
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "disk full")
        return real(self, snapshot, info)

    monkeypatch.setattr(CheckpointFolder, "save", fails)
    saver = Checkpoint(tmp_path, every="1 steps", background=background)
    with pytest.raises(OSError, match="disk full"):
        tiny_learner([saver]).fit(2)
    assert saved(tmp_path) == [0, 1]


def test_in_the_background_what_is_written_is_the_state_of_its_step(tmp_path, monkeypatch):
    real = CheckpointFolder.save

    def slow(self, snapshot, info):
        time.sleep(0.02)
        return real(self, snapshot, info)

    straight = tmp_path / "straight"
    tiny_learner([Checkpoint(straight, every="2 steps", keep=20)]).fit(1)
    monkeypatch.setattr(CheckpointFolder, "save", slow)
    other = tmp_path / "other"
    tiny_learner([Checkpoint(other, every="2 steps", keep=20, background=True)]).fit(1)
    for one, two in zip(
        CheckpointFolder(straight).all(), CheckpointFolder(other).all(), strict=True
    ):
        files = [(path / "model.safetensors").read_bytes() for path in (one.path, two.path)]
        assert files[0] == files[1]
    first, *_, last = CheckpointFolder(other).all()
    assert (first.path / "model.safetensors").read_bytes() != (
        last.path / "model.safetensors"
    ).read_bytes()


def test_saving_changes_nothing(tmp_path):
    def trained(callbacks):
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        learn = tiny_learner(callbacks, model=model)
        torch.manual_seed(1)
        nn.init.ones_(model[0].weight)
        nn.init.ones_(model[2].weight)
        nn.init.zeros_(model[0].bias)
        nn.init.zeros_(model[2].bias)
        learn.fit(2)
        return capture({"model": learn.model})

    without = trained([])
    assert first_difference(without, trained([Checkpoint(tmp_path, every="1 steps")])) is None
    assert first_difference(without, trained([InterruptAt(3)])) is not None


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"folder": 3}, TypeError, "folder must be the path of a folder; got 3"),
        ({"every": "3 days"}, ValueError, "every"),
        ({"keep": 1}, ValueError, "keep"),
        ({"monitor": 3}, TypeError, "monitor"),
    ],
)
def test_arguments_are_checked(tmp_path, arguments, error, text):
    with pytest.raises(error, match=text):
        Checkpoint(**{"folder": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_it_tells_what_it_is(tmp_path):
    assert repr(Checkpoint(Path("a"), every="3 steps")) == (
        "Checkpoint('a', every='3 steps', keep=3)"
    )


def test_a_validation_only_needs_no_folder(tmp_path):
    learn = tiny_learner([Checkpoint(tmp_path / "a")])
    learn.validate()
    learn.predict(torch.zeros(2, 3))
    assert not (tmp_path / "a").exists()


def test_training_without_validation_is_saved_too(tmp_path):
    learn = tiny_learner([Checkpoint(tmp_path)])
    learn.data = DataBunch(learn.data.train_dl)
    learn.fit(1)
    assert saved(tmp_path) == [0, 4]


@pytest.mark.parametrize("event", ["begin_epoch", "begin_train"])
def test_an_interruption_before_the_first_batch_of_an_epoch_loses_nothing(tmp_path, event):
    class Stop(Callback):
        state = ()

        def ask(self, run):
            if run.epoch == 2:
                run.interrupt("test")

    setattr(Stop, event, Stop.ask)
    tiny_learner([Checkpoint(tmp_path, every="50 epochs"), Stop()]).fit(3)
    newest = CheckpointFolder(tmp_path).all()[-1].manifest
    assert (newest["step"], newest["stage"], newest["at_epoch"]) == (8, "epoch", 2)


def test_two_fits_at_a_time_do_not_share_a_folder(tmp_path):
    class Inner(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == 2:
                tiny_learner([Checkpoint(tmp_path)]).fit(1, resume="auto")

    with pytest.raises(RuntimeError, match="another run writes its checkpoints to"):
        tiny_learner([Checkpoint(tmp_path, every="1 steps"), Inner()]).fit(1)
    assert saved(tmp_path) == [0, 1]
    tiny_learner([Checkpoint(tmp_path)]).fit(1, resume="auto")  # it is free again
    assert saved(tmp_path) == [0, 1, 4]


def test_a_value_is_that_of_the_weights_it_is_saved_with(tmp_path):
    saver = Checkpoint(tmp_path, every="1 steps", keep=50, monitor="valid_loss")
    run = tiny_learner([saver]).fit(2, validate_every="3 steps")
    measured = dict(zip(run.history["step"], run.history["valid_loss"], strict=True))
    found = CheckpointFolder(tmp_path).all()
    assert {one.step: one.value for one in found if one.value is not None}.items() <= (
        measured.items()
    )
    valued = [(one.step, one.manifest["stage"]) for one in found if one.value is not None]
    assert valued == [(3, "validated"), (6, "validated"), (8, "epoch")]


def test_the_best_of_a_resumed_run_is_the_best_of_the_whole_run(tmp_path):
    class Column(Callback):
        state = ()
        values = [5.0, 1.0, 3.0, 4.0, 0.5, 7.0]

        def after_validate(self, run):
            run.history.log_row("score", self.values[run.epoch])

    def fit(*callbacks, resume="auto"):
        saver = Checkpoint(tmp_path, every="50 epochs", keep=9, monitor="score", mode="min")
        tiny_learner([Column(), saver, *callbacks]).fit(6, resume=resume)
        return saver

    fit(InterruptAt(14), resume=None)
    assert saved(tmp_path) == [0, 4, 8, 14]
    assert fit().best == 0.5
    assert saved(tmp_path) == [0, 4, 8, 14, 20, 24]
    assert len(set(saved(tmp_path, "run"))) == 1


def test_a_script_of_two_fits_goes_on_wherever_it_was_left(tmp_path):
    def script(*callbacks):
        learn = tiny_learner([Checkpoint(tmp_path, keep=9), *callbacks])
        learn.fit(1, resume="auto")
        if not learn.run.interrupted:
            learn.fit(2, resume="auto")
        return capture({"model": learn.model}), learn.steps_done

    straight = script()
    before = saved(tmp_path, "began_at")
    assert before == [0, 0, 4, 4, 4]
    for one in CheckpointFolder(tmp_path).all()[2:]:
        shutil.rmtree(one.path)  # as if it had been killed between the two
    assert first_difference(straight, script()) is None
    assert saved(tmp_path, "began_at") == before


def test_at_most_one_write_is_under_way_and_its_error_comes_at_the_next_save(tmp_path, monkeypatch):
    real, under_way, most, events = CheckpointFolder.save, [], [], []

    def slow(self, snapshot, info):
        under_way.append(info["step"])
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.remove(info["step"])
        events.append(info["step"])
        if info["step"] == 4:
            raise OSError(errno.EIO, "broken disk")
        return real(self, snapshot, info)

    class Trained(Callback):
        steps = 0

        def after_step(self, run):
            type(self).steps = run.n_steps

    monkeypatch.setattr(CheckpointFolder, "save", slow)
    saver = Checkpoint(tmp_path, every="2 steps", background=True)
    with pytest.raises(OSError, match="broken disk"):
        tiny_learner([saver, Trained()]).fit(5)
    assert max(most) == 1
    assert events == [0, 2, 4]
    assert 4 <= Trained.steps <= 6
    assert saved(tmp_path) == [0, 2]


def test_an_error_of_the_last_write_is_not_lost(tmp_path, monkeypatch):
    real = CheckpointFolder.save

    def fails(self, snapshot, info):
        if info["step"] == 8:
            raise OSError(errno.EIO, "broken disk")
        return real(self, snapshot, info)

    monkeypatch.setattr(CheckpointFolder, "save", fails)
    learn = tiny_learner([Checkpoint(tmp_path, background=True)])
    with pytest.raises(OSError, match="broken disk"):
        learn.fit(2)
    assert learn.steps_done == 8


class Held(Callback):
    """Lets the write of step 4, which waits, go on as soon as an error, or nan, is raised."""

    state = ()

    def __init__(self, monkeypatch, *, error, disk=None):
        real, go, self.error = CheckpointFolder.save, threading.Event(), error

        def save(folder, snapshot, info):
            if info["step"] == 4:
                assert go.wait(60)
                if disk is not None:
                    raise disk
            return real(folder, snapshot, info)

        self.go = go
        monkeypatch.setattr(CheckpointFolder, "save", save)

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and run.n_iter == 5:
            self.go.set()
            if self.error is not None:
                raise self.error
            run.loss = run.loss * torch.nan


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_a_write_is_told_where_the_fit_ends_with_another(tmp_path, monkeypatch, kind):
    disk = OSError(errno.EIO, "broken disk")
    held = Held(monkeypatch, error=kind("five"), disk=disk)
    with pytest.raises(kind, match="five") as caught:
        tiny_learner([Checkpoint(tmp_path, background=True), held]).fit(3)
    told = "A checkpoint could not be saved, either: OSError(5, 'broken disk')."
    assert told in caught.value.__notes__
    assert saved(tmp_path) == [0]
    if kind is ZeroDivisionError:
        assert capsule.read(tmp_path)["checkpoint"] == "step-00000000"


def test_a_capsule_names_the_checkpoint_that_was_being_written(tmp_path, monkeypatch):
    held = Held(monkeypatch, error=ZeroDivisionError("five"))
    with pytest.raises(ZeroDivisionError) as caught:
        tiny_learner([Checkpoint(tmp_path, background=True), held]).fit(3)
    assert capsule.read(tmp_path)["checkpoint"] == "step-00000004"
    assert not any("could not be saved" in note for note in caught.value.__notes__)


def test_a_capsule_says_what_ended_the_fit_and_not_that_the_disk_failed_then(tmp_path, monkeypatch):
    held = Held(monkeypatch, error=None, disk=OSError(errno.EIO, "broken disk"))
    saver, guard = Checkpoint(tmp_path, background=True), StopOnNonFinite(action="stop")
    with pytest.raises(OSError, match="broken disk"):
        tiny_learner([saver, guard, held]).fit(3)
    assert capsule.read(tmp_path)["error"].startswith("loss is nan at step 5")


class Silent(Callback):
    """Changes in the course of a fit, and says nothing about it."""

    def __init__(self, start=0):
        self.same, self.nan, self.listed = 3.0, float("nan"), [1]
        self.steps, self.kept, self.many = start, torch.zeros(2), list(range(100))

    def after_step(self, run):
        self.change(run)

    def change(self, run):
        self.steps += 1


class Lists(Silent):
    def change(self, run):
        self.listed[0] += 1


class Grows(Silent):
    def change(self, run):
        self.many.append(0)


class InPlace(Silent):
    def change(self, run):
        self.kept += 1


class New(Silent):
    def change(self, run):
        self.new = run.n_steps


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Silent, "steps"), (Lists, "listed"), (Grows, "many"), (InPlace, "kept"), (New, "new")],
)
def test_whoever_changes_and_declares_no_state_is_named_once(tmp_path, kind, name):
    learn = tiny_learner([kind(), Checkpoint(tmp_path, every="1 steps")])
    text = rf"^{kind.__name__} changes {name} in the course .* Write state = \(\"{name}\",\) in"
    with pytest.warns(UserWarning, match=text) as warned:
        learn.fit(2)
    assert len(warned) == 1
    with pytest.warns(UserWarning, match=text):
        learn.fit(1)


def test_two_of_them_and_two_attributes_are_named(tmp_path):
    class Two(Silent):
        def change(self, run):
            self.steps, self.listed = self.steps + 1, [3]

    with pytest.warns(UserWarning, match="declares no state") as warned:
        tiny_learner([Two(), Lists(), Checkpoint(tmp_path)]).fit(1)
    told = [str(one.message) for one in warned]
    assert len(told) == 2
    assert "Two changes listed, steps in the course" in told[0]
    assert 'state = ("listed", "steps",)' in told[0]


def test_whoever_declares_its_state_or_does_not_change_is_not_named(tmp_path):
    class Declared(Silent):
        state = ("steps",)

    class Inherits(Declared):
        pass

    class Nothing(Silent):
        state = ()

    class Own(Silent):
        def state_dict(self):
            return {"n": self.steps}

        def load_state_dict(self, state_dict):
            self.steps = state_dict["n"]

    class Still(Silent):
        def change(self, run):
            self.same, self.nan = 3.0, float("nan")

    class SetUp(Silent):
        def begin_fit(self, run):
            self.steps = 99

        def change(self, run):
            pass

    callbacks = [kind() for kind in (Declared, Inherits, Nothing, Own, Still, SetUp)]
    tiny_learner([*callbacks, Checkpoint(tmp_path, every="2 steps")]).fit(2)
    assert callbacks[0].steps == 8


def test_the_last_checkpoint_before_a_run_was_made_longer_stays(tmp_path):
    def saving():
        schedule = ParamScheduler("lr", sched_lin(0.1, 0.0))
        return tiny_learner([schedule, Checkpoint(tmp_path, every="1 epoch", keep=2)])

    saving().fit(2)
    for epochs, kept in ((5, [0, 8, 16, 20]), (8, [0, 8, 20, 28, 32])):
        with pytest.warns(ResumeWarning, match="epochs"):
            saving().fit(epochs, resume="auto")
        assert saved(tmp_path) == kept


class FailAt(Callback):
    """Raises an error in the n-th training batch, or a loss that is not finite."""

    state = ()

    def __init__(self, n, *, error=None, event="after_loss"):
        self.n, self.error, self.event = n, error, event

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and run.n_iter == self.n:
            if self.error is not None:
                raise self.error
            run.loss = run.loss * torch.nan

    def after_epoch(self, run):
        if self.event == "after_epoch":
            raise self.error


def test_a_step_that_ends_the_fit_with_an_error_is_noted_and_can_be_made_again(tmp_path):
    error = ZeroDivisionError("five")
    learn = tiny_learner([Checkpoint(tmp_path), FailAt(5, error=error)])
    with pytest.raises(ZeroDivisionError) as caught:
        learn.fit(3)
    assert caught.value is error
    said = capsule.read(tmp_path)
    assert (said["step"], said["epoch"], said["batch"]) == (5, 1, 1)
    assert said["error"] == "ZeroDivisionError: five"
    assert said["where"].startswith("FailAt.compute_loss; xb: (8, 3) float32 cpu; yb: (8,)")
    assert said["checkpoint"] == "step-00000004"
    replay = learn.run.replay()
    assert (replay.step, replay.batches, str(replay.error)) == (5, [1], "five")


@pytest.mark.parametrize("action", ["raise", "stop"])
@pytest.mark.parametrize("every", [1, 4])
def test_a_loss_that_is_not_finite_is_noted_where_it_was_and_not_where_it_was_read(
    tmp_path, action, every
):
    guard = StopOnNonFinite(every=every, action=action)
    learn = tiny_learner([Checkpoint(tmp_path), guard, FailAt(5)])
    with pytest.raises(FloatingPointError) if action == "raise" else nullcontext():
        learn.fit(3)
    said = capsule.read(tmp_path)
    assert (said["step"], said["epoch"], said["batch"]) == (5, 1, 1)
    assert "loss" in said["error"]
    noted = {"step": 5, "epoch": 1, "batch": 1, "doing": "training"}
    assert learn.run.history.meta["failed"] == noted
    assert learn.run.replay().step == 5


def test_no_capsule_is_written_where_nothing_failed_or_none_is_wanted(tmp_path):
    tiny_learner([Checkpoint(tmp_path / "a")]).fit(2)
    fails = FailAt(-1, error=ZeroDivisionError(), event="after_epoch")
    learn = tiny_learner([Checkpoint(tmp_path / "b"), fails])
    with pytest.raises(ZeroDivisionError):
        learn.fit(2)
    with pytest.raises(ValueError, match=r"no step of this run is known to have failed: only a"):
        learn.run.replay()
    with pytest.raises(ZeroDivisionError):
        off = Checkpoint(tmp_path / "c", capsule=False)
        tiny_learner([off, FailAt(1, error=ZeroDivisionError())]).fit(2)
    tiny_learner([Checkpoint(tmp_path / "d"), InterruptAt(3)]).fit(2)
    assert not list(tmp_path.rglob(capsule.NAME))


def test_a_capsule_that_cannot_be_written_hides_no_error(tmp_path, monkeypatch):
    def full(*args, **said):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(capsule, "write", full)
    error = ZeroDivisionError("five")
    with pytest.raises(ZeroDivisionError) as caught:
        tiny_learner([Checkpoint(tmp_path), FailAt(5, error=error)]).fit(3)
    assert caught.value is error
    assert any("failed.json could not be written: OSError(" in n for n in error.__notes__)
    stop = StopOnNonFinite(action="stop")
    with pytest.warns(UserWarning, match=r"failed\.json could not be written"):
        tiny_learner([Checkpoint(tmp_path / "b"), stop, FailAt(5)]).fit(3)


def test_a_capsule_does_not_disturb_the_run_that_goes_on(tmp_path):
    fails = FailAt(5, error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        tiny_learner([Checkpoint(tmp_path), fails]).fit(3)
    fails.n = -1
    learn = tiny_learner([Checkpoint(tmp_path), fails])
    run = learn.fit(3, resume="auto")
    assert run.n_steps == 12
    assert "failed" not in run.history.meta


def test_a_run_that_is_resumed_goes_on_under_its_own_number(tmp_path):
    first, second, other = Checkpoint(tmp_path), Checkpoint(tmp_path), Checkpoint(tmp_path / "b")
    tiny_learner([first]).fit(1)
    tiny_learner([second]).fit(2, resume="auto")
    tiny_learner([other]).fit(2)
    assert second.run_id == first.run_id
    assert other.run_id != first.run_id  # the control


def test_parts_cannot_be_written_in_the_background(tmp_path):
    with pytest.raises(ValueError, match="sharded and background cannot both be True"):
        Checkpoint(tmp_path, sharded=True, background=True)


def test_one_process_writes_a_plain_checkpoint_whatever_is_said(tmp_path):
    saves = Checkpoint(tmp_path, sharded=True)
    tiny_learner().fit(1, callbacks=[saves])
    assert (saves.newest / "model.safetensors").is_file()

"""A past step, made again."""

from functools import partial

import pytest
import torch
from torch import nn

from lehr import Callback, Layer
from lehr.callbacks import Checkpoint, CSVLog, ParamScheduler
from lehr.schedules import sched_cos
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class GivenToSteps(Callback):
    """Writes down what the optimizer is given at every step."""

    layer = Layer.CLIP
    replays = False

    def begin_fit(self, run):
        self.steps = []

    def step(self, run, proceed):
        grads = {name: p.grad.clone() for name, p in run.model.named_parameters()}
        self.steps.append((run.xb.clone(), run.pred.detach().clone(), grads))
        proceed()


class Pairs(Callback):
    """Two batches a step."""

    state = ()
    batches_per_step = 2

    def begin_batch(self, run):
        run.closes = run.batch_index % 2 == 1


def learner(*callbacks, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
    kwargs = {"opt": partial(torch.optim.AdamW, lr=0.1), "model": model, **kwargs}
    return tiny_learner([ParamScheduler("lr", sched_cos(0.1, 0.0)), *callbacks], **kwargs)


@pytest.mark.parametrize("step", range(12))
def test_every_step_is_the_one_that_was_made(tmp_path, step):
    given = GivenToSteps()
    learn = learner(given, Checkpoint(tmp_path, every="3 steps", keep=2))
    run = learn.fit(3)
    replay = run.replay(step)
    xb, pred, grads = given.steps[step]
    assert replay.exact
    assert replay.losses == run.history["loss"][step : step + 1]
    assert replay.batches == [step % 4]
    found = {"xb": replay.xb[0], "pred": replay.pred[0].detach(), "grads": replay.grads}
    assert first_difference({"xb": xb, "pred": pred, "grads": grads}, found) is None
    assert replay.began_at <= step
    wrong = {"xb": xb, "pred": pred, "grads": given.steps[step - 1][2]}
    assert first_difference(wrong, found) is not None


def test_it_begins_at_the_nearest_state_that_was_kept(tmp_path):
    learn = learner(Checkpoint(tmp_path, every="3 steps", keep=3))
    run = learn.fit(3)
    assert [run.replay(step).began_at for step in (2, 8, 9, 11)] == [0, 0, 9, 9]


def test_all_the_batches_of_a_window_are_there(tmp_path):
    learn = learner(Pairs(), Checkpoint(tmp_path))
    run = learn.fit(2)
    replay = run.replay(3)
    assert replay.batches == [2, 3]
    assert len(replay.xb) == len(replay.yb) == len(replay.pred) == 2
    assert replay.losses == run.history["loss"][6:8]
    assert repr(replay).startswith("Replay(step 3 from 2, batch 2, 3, loss ")
    assert repr(replay).endswith(" (as in the history))")


def test_nothing_of_the_run_its_learner_and_its_files_changes(tmp_path):
    log = CSVLog(tmp_path / "log.csv")
    learn = learner(log, Checkpoint(tmp_path / "saved"))
    run = learn.fit(2)
    before = capture({**run.learn.state_entries(), **run.state_entries()})
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    replay = run.replay(5)
    after = capture({**run.learn.state_entries(), **run.state_entries()})
    assert first_difference(before, after) is None
    assert run.learn.run is run
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    assert replay.learn.model is not run.learn.model
    weights = replay.learn.model[0].weight
    assert not torch.equal(weights, run.learn.model[0].weight)


def test_somebody_may_look_at_what_happens_from_that_state_on(tmp_path):
    learn = learner(Checkpoint(tmp_path))
    run = learn.fit(2)
    given = GivenToSteps()
    replay = run.replay(6, callbacks=[given])
    assert len(given.steps) == 6 - replay.began_at + 1


def test_a_step_that_failed_is_begun_again_and_its_error_kept(tmp_path):
    class Fails(Callback):
        state = ()

        def after_loss(self, run):
            if run.n_iter == 5:
                raise ZeroDivisionError("five")

    learn = learner(Checkpoint(tmp_path), Fails())
    with pytest.raises(ZeroDivisionError):
        learn.fit(2)
    replay = learn.run.replay(5)
    assert isinstance(replay.error, ZeroDivisionError)
    assert replay.batches == [1]
    assert replay.grads == {}
    assert repr(replay).endswith("raised ZeroDivisionError('five'))")


def test_it_says_where_a_loss_ceased_to_be_finite(tmp_path):
    class Spoil(Callback):
        state = ()

        def begin_batch(self, run):
            if run.training and run.n_iter == 5:
                run.xb = run.xb.clone()
                run.xb[2] = torch.inf

    learn = learner(Checkpoint(tmp_path), Spoil())
    run = learn.fit(2)
    replay = run.replay(5)
    assert (replay.epoch, replay.batches) == (1, [1])
    assert replay.origin == "The input is not finite in item 2."
    assert run.replay(4).origin == ""


def test_an_error_before_the_step_is_raised(tmp_path):
    class Fails(Callback):
        state = ()

        def __init__(self):
            self.armed = False

        def after_loss(self, run):
            if self.armed and run.n_iter == 5:
                raise ZeroDivisionError("five")

    fails = Fails()
    learn = learner(Checkpoint(tmp_path), fails)
    run = learn.fit(2)
    fails.armed = True
    with pytest.raises(ZeroDivisionError):
        run.replay(7)


def test_what_no_seed_governs_is_told(tmp_path):
    class Chance(Callback):
        state = ()
        calls = 0

        def after_backward(self, run):
            Chance.calls += 1
            with torch.no_grad():
                run.model[0].weight.add_(0.01 * Chance.calls)

    learn = learner(Chance(), Checkpoint(tmp_path))
    run = learn.fit(2)
    replay = run.replay(7)
    assert replay.exact is False
    assert "(NOT as in the history)" in repr(replay)


def test_a_number_that_cannot_be_used_is_refused(tmp_path):
    learn = learner(Checkpoint(tmp_path))
    run = learn.fit(2)
    with pytest.raises(ValueError, match=r"step must be below 8, .*; got 8\. The first is step 0"):
        run.replay(8)
    with pytest.raises(ValueError, match="step must be at least 0; got -1"):
        run.replay(-1)


def test_without_a_state_nothing_can_be_replayed(tmp_path):
    learn = learner()
    run = learn.fit(1)
    with pytest.raises(ValueError, match=r"no callback keeps states of this run\. Attach"):
        run.replay(0)
    learn = learner(Checkpoint(tmp_path))
    run = learn.fit(1)
    for path in tmp_path.glob("step-*"):
        path.rename(tmp_path / f"gone-{path.name}")
    with pytest.raises(ValueError, match="no state from before step 2 is left"):
        run.replay(2)

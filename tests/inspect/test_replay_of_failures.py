"""What ended a run is made again: a batch that could not be read, a validation that raised."""

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.callbacks import Accumulate, Checkpoint
from lehr.data import DataLoader
from lehr.state.differences import first_difference
from lehr.state.disk import capsule
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Items:
    """Items that are read one by one; one of them cannot be."""

    def __init__(self, items=32, bad=None):
        self.items, self.bad = items, bad

    def __len__(self):
        return self.items

    def __getitem__(self, i):
        if i == self.bad:
            raise OSError(f"item {i} is torn")
        return torch.tensor([i / 10, 1.0, -i / 7]), i % 2


class InValidation(Callback):
    """Raises in an event of a validation of the second epoch."""

    state = ()

    def __init__(self, event):
        setattr(self, event, self._raise)

    def _raise(self, run):
        if not run.training and run.epoch == 1:
            raise OSError(f"no, with {float(run.model[0].weight.sum()):.9g}")


def learner(folder, *callbacks, train=None, valid=None, workers=0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 2))
    data = DataBunch(
        DataLoader(Items(bad=train), 4, shuffle=True, num_workers=workers),
        DataLoader(Items(8, bad=valid), 4, num_workers=workers),
    )
    saver = Checkpoint(folder, every="2 steps")
    return tiny_learner([*callbacks, saver], model=model, data=data)


def failed(learn, epochs=3, **fit):
    with pytest.raises(OSError) as caught:
        learn.fit(epochs, **fit)
    return learn.run, caught.value


def weights(learn):
    return capture({"model": learn.model, "opt": learn.opt})


READING = {"train": 10}
VALIDATING = {"valid": 6}
CASES = {
    "reading": (READING, {}, "reading"),
    "a worker": ({**READING, "workers": 2}, {}, "reading"),
    "validation": (VALIDATING, {}, "validating"),
    "a worker in validation": ({**VALIDATING, "workers": 1}, {}, "validating"),
    "validation in an epoch": (VALIDATING, {"validate_every": "3 steps"}, "validating"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_error_is_raised_in_the_same_state(tmp_path, case):
    made, fit, doing = CASES[case]
    run, error = failed(learner(tmp_path, **made), **fit)
    said = capsule.read(tmp_path)
    assert (said["step"], said["doing"]) == (run.n_steps, doing)
    assert said["error"] == f"OSError: {error}"
    replay = run.replay()
    assert (type(replay.error), str(replay.error)) == (OSError, str(error))
    assert replay.failed._asdict() == run.history.meta["failed"]
    assert replay.exact
    assert first_difference(weights(run.learn), weights(replay.learn)) is None
    other = run.replay(run.n_steps - 2)
    assert other.error is None
    assert first_difference(weights(run.learn), weights(other.learn)) is not None


def test_the_place_is_that_of_the_batch_that_could_not_be_read(tmp_path):
    run, _ = failed(learner(tmp_path, train=10))
    order = next(i for i, (xb, _) in enumerate(good_batches(run)) if 1.0 in xb[:, 0])
    said = capsule.read(tmp_path)
    assert (said["step"], said["epoch"], said["batch"]) == (order, 0, order)
    assert said["where"] == "reading a batch"
    assert run.n_iter == order
    assert f"training batch {order}" in "".join(run_notes(run))


def good_batches(run):
    return DataLoader(Items(), 4, shuffle=True).batches(run.seed, 0)


def run_notes(run):
    return run.replay().error.__notes__


@pytest.mark.parametrize("event", ["begin_validate", "after_pred", "after_validate"])
def test_any_event_of_a_validation_may_raise(tmp_path, event):
    run, error = failed(learner(tmp_path, InValidation(event)))
    said = capsule.read(tmp_path)
    assert (said["step"], said["epoch"], said["doing"]) == (16, 1, "validating")
    assert said["batch"] == (0 if event == "after_pred" else None)
    assert said["where"].startswith(f"InValidation.{event}")
    replay = run.replay()
    assert str(replay.error) == str(error)  # with the weights of that moment
    assert replay.batches == ([0] if event == "after_pred" else [])
    assert first_difference(weights(run.learn), weights(replay.learn)) is None
    assert repr(replay).startswith("Replay(step 16 from ")


def test_reading_in_a_window_that_is_open(tmp_path):
    run, error = failed(learner(tmp_path, Accumulate(3), train=10))
    said = capsule.read(tmp_path)
    assert said["doing"] == "reading"
    assert said["batch"] == run.n_iter
    replay = run.replay()
    assert str(replay.error) == str(error)
    assert first_difference(weights(run.learn), weights(replay.learn)) is None
    assert replay.batches == list(range(3 * run.n_steps, run.n_iter))


def test_a_batch_that_can_be_read_now_raises_nothing(tmp_path):
    learn = learner(tmp_path, train=10)
    run, _ = failed(learn)
    learn.data.train_ds.bad = None
    replay = run.replay()
    assert replay.error is None
    assert replay.failed is None
    assert replay.batches == [capsule.read(tmp_path)["batch"]]


def test_a_last_validation_that_raises_nothing_now_ends_the_replay(tmp_path):
    learn = learner(tmp_path, valid=6)
    run, _ = failed(learn, epochs=1)
    learn.data.valid_ds.bad = None
    replay = run.replay()
    assert replay.error is None
    assert replay.batches == []
    assert replay.learn.run.n_steps == 8
    with pytest.raises(ValueError, match="step must be below 8"):
        run.replay(8)


def test_what_fails_between_epochs_is_raised_by_a_replay_of_that_step(tmp_path):
    class Later(Callback):
        state = ()

        def after_epoch(self, run):
            raise OSError("later")

    run, _ = failed(learner(tmp_path, Later()))
    assert capsule.read(tmp_path) is None
    with pytest.raises(OSError, match="later"):
        run.replay(8)

"""Loaders that lehr did not make: a run that goes on reads what it would have read."""

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint, ParamScheduler
from lehr.schedules import sched_cos
from lehr.state.differences import first_difference
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Positioned:
    """A foreign loader that says where it is, and goes on there when it is next opened."""

    def __init__(self):
        x = torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(0))
        self.batches = [(xb, (xb.sum(1) > 0).long()) for xb in x]
        self.epoch = self.place = self.reads = 0
        self.goes_on = False

    def __iter__(self):
        self.place = self.place if self.goes_on else 0
        self.goes_on = False
        keyed = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(7, generator=keyed).tolist()
        while self.place < 7:
            self.place, self.reads = self.place + 1, self.reads + 1
            yield self.batches[order[self.place - 1]]
        self.epoch, self.place = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "place": self.place}

    def load_state_dict(self, state_dict):
        self.epoch, self.place = state_dict["epoch"], state_dict["place"]
        self.goes_on = self.place > 0


class Sized(Positioned):
    """And says how long it is."""

    def __len__(self):
        return 7


def generated():
    """Shuffled by a generator of its own, whose state tells nothing about the place."""
    x = torch.randn(28, 3, generator=torch.Generator().manual_seed(0))
    items = torch.utils.data.TensorDataset(x, (x.sum(1) > 0).long())
    generator = torch.Generator().manual_seed(5)
    return torch.utils.data.DataLoader(items, 4, shuffle=True, generator=generator)


class Stop(Callback):
    """Interrupts the run in the n-th batch."""

    state = ()
    replays = False

    def __init__(self, n):
        self.n = n

    def after_batch(self, run):
        if run.n_iter == self.n:
            run.interrupt("test")


def learner(loader, folder=None, *callbacks):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
    schedule = ParamScheduler("lr", sched_cos(0.1, 0.0))
    saver = [Checkpoint(folder)] if folder else []
    return tiny_learner([schedule, *saver, *callbacks], model=model, data=DataBunch(loader))


def fit(learn, **arguments):
    return learn.fit(3, steps_per_epoch=7, **arguments)


def outcome(run):
    found = capture(run.state_entries())
    for row in found["history"]["rows"]:
        row.pop("seconds", None)
    for name in ("callbacks.checkpoint", "callbacks.recorder", "callbacks.stop"):
        found.pop(name, None)
    return found


@pytest.mark.parametrize("stop", [1, 6, 7, 8, 13, 20])
@pytest.mark.parametrize("kind", [Sized, Positioned])
def test_a_loader_with_a_state_goes_on_where_it_was(tmp_path, kind, stop):
    straight = outcome(fit(learner(kind())))
    fit(learner(kind(), tmp_path, Stop(stop)))
    loader = kind()
    resumed = fit(learner(loader, tmp_path), resume="auto", exact=True)
    assert first_difference(straight, outcome(resumed)) is None
    assert loader.reads == 21 - stop


REREAD = r"train_dl cannot be entered in the middle: .* \(5\) are read once more and left out"


@pytest.mark.parametrize("factory", [False, True])
def test_any_other_loader_is_read_from_its_beginning_and_that_is_said(tmp_path, factory):
    def loader():
        return (lambda: iter(generated())) if factory else generated()

    straight = outcome(fit(learner(loader())))
    fit(learner(loader(), tmp_path, Stop(12)))
    learn = learner(loader(), tmp_path)
    before = capture({"model": learn.model, "opt": learn.opt})
    with pytest.raises(ValueError, match=f"{REREAD}.*or leave out exact=True"):
        fit(learn, resume="auto", exact=True)
    assert first_difference(before, capture({"model": learn.model, "opt": learn.opt})) is None
    with pytest.warns(UserWarning, match=REREAD) as warned:
        resumed = fit(learner(loader(), tmp_path), resume="auto")
    assert len(warned) == 1
    assert first_difference(straight, outcome(resumed)) is None


def test_between_epochs_it_makes_no_difference(tmp_path):
    straight = outcome(fit(learner(generated())))
    fit(learner(generated(), tmp_path))
    [_, second, *_] = CheckpointFolder(tmp_path).all()
    assert second.manifest["stage"] == "epoch"
    resumed = fit(learner(generated()), resume=second.path, exact=True)
    assert first_difference(straight, outcome(resumed)) is None


def test_other_batches_than_before_would_be_seen(tmp_path):
    straight = outcome(fit(learner(generated())))
    fit(learner(generated(), tmp_path, Stop(12)))
    items = generated().dataset
    other = torch.utils.data.DataLoader(items, 4, generator=torch.Generator())
    with pytest.warns(UserWarning, match=REREAD):
        resumed = fit(learner(other, tmp_path), resume="auto")
    assert first_difference(straight, outcome(resumed)) is not None

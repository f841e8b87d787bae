"""Loaders that shuffle by the number of the epoch are told it, by whoever trains."""

import pytest
from torch.utils.data import DistributedSampler

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint, Rewind
from lehr.testing import tiny_learner

from . import foreign
from .test_foreign_probes import LOOKS, learner


class Counted(DistributedSampler):
    """Knows the epochs that were set."""

    def __init__(self):
        super().__init__(range(32), num_replicas=1, rank=0)
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)
        super().set_epoch(epoch)


def sampled():
    return foreign.torchs(Counted())


def epochs_set(loader):
    return (loader.sampler if hasattr(loader, "sampler") else loader).epochs


@pytest.mark.parametrize("make", [sampled, foreign.Streamed])
def test_every_epoch_has_an_order_of_its_own_and_two_fits_are_as_one(make):
    learn, seen = learner(make())
    learn.fit(4)
    assert len({str(epoch) for epoch in seen.epochs}) == 4
    assert epochs_set(learn.data.train_dl) == [0, 1, 2, 3]
    other, pieces = learner(make())
    for epochs in (1, 2, 1):
        other.fit(epochs)
    assert pieces.epochs == seen.epochs


def test_an_epoch_of_many_passes_through_the_loop_is_told_once(tmp_path):
    valid = foreign.Streamed()
    learn = tiny_learner(
        data=DataBunch(sampled(), {"a": valid, "b": foreign.Streamed()}),
        split_batch=lambda batch: batch[:2],
    )
    learn.fit(2, validate_every="4 steps")
    assert epochs_set(learn.data.train_dl) == [0, 1]
    assert valid.epochs == [0, 0, 1, 1]  # each validation opens its loader


@pytest.mark.parametrize("make", [sampled, foreign.Streamed])
@pytest.mark.parametrize("stop", [5, 11])
def test_a_resumed_run_tells_the_number_that_the_epoch_has(tmp_path, make, stop):
    class Stop(Callback):
        state, replays = (), False

        def after_batch(self, run):
            if run.n_iter == stop:
                run.interrupt("test")

    straight, all_of_it = learner(make())
    straight.fit(3)
    learn, before = learner(make(), Checkpoint(tmp_path), Stop())
    learn.fit(3)
    learn, after = learner(make(), Checkpoint(tmp_path))
    if make is sampled:
        with pytest.warns(UserWarning, match="cannot be entered in the middle"):
            learn.fit(3, resume="auto")
    else:
        learn.fit(3, resume="auto")
    assert before.batches() + after.batches() == all_of_it.batches()
    assert epochs_set(learn.data.train_dl) == ([0, 1, 2] if stop == 5 else [1, 2])


@pytest.mark.parametrize("make", [sampled, foreign.Streamed])
def test_a_run_that_goes_back_tells_the_number_again(make):
    class Once(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps == 10 and not run.rewinds:
                run.rewind(5)

    learn, seen = learner(make(), Rewind(every="1 steps", keep=20), Once())
    learn.fit(2)
    assert epochs_set(learn.data.train_dl) == [0, 1, 0, 1]
    assert seen.epochs[0][5:] == seen.epochs[2]
    assert seen.epochs[1] == seen.epochs[3][:2]


@pytest.mark.parametrize("look", [*LOOKS])
@pytest.mark.parametrize("make", [sampled, foreign.Streamed])
def test_only_a_resume_check_tells_anything_and_puts_back_what_it_told(make, look):
    learn, _ = learner(make())
    learn.fit(2)
    loader = learn.data.train_dl
    LOOKS[look](learn)
    assert (epochs_set(loader) == [0, 1]) is (look != "check_resume" or (look, make) == _COPIED)
    assert (loader.sampler if make is sampled else loader).epoch == 1


_COPIED = ("check_resume", foreign.Streamed)  # it loads states, so it works on copies


@pytest.mark.parametrize("make", [sampled, foreign.Streamed])
def test_a_look_within_a_fit_leaves_the_number_of_the_epoch(make):
    class Looks(Callback):
        state = ()

        def after_batch(self, run):
            if run.training and run.n_iter == 10:
                run.learn.predict(run.xb)
                with run.learn.probe():
                    run.learn.data.train_dl.__iter__()

    straight, expected = learner(make())
    straight.fit(3)
    learn, seen = learner(make(), Looks())
    learn.fit(3)
    assert seen.epochs == expected.epochs

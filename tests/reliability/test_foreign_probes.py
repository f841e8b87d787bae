"""A look at a Learner moves no loader that lehr did not make: nothing is skipped afterwards."""

import pytest
import torch

from lehr import Callback, CancelEpoch, DataBunch
from lehr.callbacks import Checkpoint
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

from . import foreign


class Seen(Callback):
    """The numbers of the items of each batch, epoch by epoch."""

    state = ()
    replays = False

    def __init__(self):
        self.epochs = []

    def batches(self):
        return [batch for epoch in self.epochs for batch in epoch]

    def begin_train(self, run):
        self.epochs.append([])

    def begin_batch(self, run):
        if run.training:
            self.epochs[-1].append(run.batch[2].tolist())


def learner(loader, *callbacks):
    seen = Seen()
    learn = tiny_learner(
        [seen, *callbacks], data=DataBunch(loader), split_batch=lambda batch: batch[:2]
    )
    return learn, seen


def empty(learn):
    with learn.probe():
        pass


LOOKS = {
    "nothing": lambda learn: None,
    "probe": empty,
    "summary": lambda learn: learn.summary(),
    "audit": lambda learn: learn.audit(),
    "find_lr": lambda learn: learn.find_lr(steps=20),
    "rehearse": lambda learn: learn.rehearse(11),
    "predict": lambda learn: learn.predict(learn.data.train_dl, targets=True),
    "validate": lambda learn: learn.validate(learn.data.train_dl),
    "check_resume": lambda learn: learn.check_resume(),
}
KINDS = {
    "streamed": foreign.Streamed,
    "resumed": foreign.Resumed,
    "prepared": foreign.prepared,
}


@pytest.mark.parametrize("length", [{"steps": 3}, {"epochs": 1}, {"steps": 8}])
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_look_between_two_fits_changes_no_batch_of_the_second(kind, look, length):
    def epochs(*looks):
        learn, seen = learner(KINDS[kind]())
        learn.fit(**length)
        for name in looks:
            LOOKS[name](learn)
        seen.epochs.clear()
        learn.fit(2)
        return seen.epochs

    expected = epochs()
    assert [len(epoch) for epoch in expected] == [8, 8]
    assert expected[0] != expected[1]
    assert epochs(look) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("look", ["probe", "summary", "rehearse", "predict"])
def test_a_look_before_the_first_fit_changes_nothing_either(kind, look):
    learn, seen = learner(KINDS[kind]())
    LOOKS[look](learn)
    assert [len(epoch) for epoch in seen.epochs] in ([], [8, 3])  # a rehearsal of eleven steps
    seen.epochs.clear()
    learn.fit(1)
    assert [len(epoch) for epoch in seen.epochs] == [8]


def test_a_loader_whose_state_cannot_be_had_is_read_again_from_its_beginning(tmp_path):
    class Stop(Callback):
        state, replays = (), False

        def after_batch(self, run):
            if run.n_iter == 11:
                run.interrupt("test")

    straight, _ = learner(foreign.prepared())
    straight.fit(3)
    learn, _ = learner(foreign.prepared(), Checkpoint(tmp_path), Stop())
    learn.fit(3)
    learn, seen = learner(foreign.prepared(), Checkpoint(tmp_path))
    with pytest.warns(UserWarning, match=r"train_dl cannot be entered in the middle: .* \(3\)"):
        learn.fit(3, resume="auto")
    assert [len(epoch) for epoch in seen.epochs] == [5, 8]
    assert first_difference(*(capture({"model": one.model}) for one in (straight, learn))) is None
    other, _ = learner(foreign.torchs(generator=torch.Generator().manual_seed(4)))
    other.fit(3)
    assert first_difference(*(capture({"model": one.model}) for one in (straight, other)))


@pytest.mark.parametrize("kind", ["streamed", "resumed"])
@pytest.mark.parametrize("stop", [3, 8, 11, 16])
def test_a_checkpoint_continues_where_it_was_and_later_epochs_are_whole(tmp_path, kind, stop):
    class Stop(Callback):
        state, replays = (), False

        def after_batch(self, run):
            if run.n_iter == stop:
                run.interrupt("test")

    straight, all_of_it = learner(KINDS[kind]())
    straight.fit(3)
    learn, before = learner(KINDS[kind](), Checkpoint(tmp_path), Stop())
    learn.fit(3)
    learn, after = learner(KINDS[kind](), Checkpoint(tmp_path))
    learn.fit(3, resume="auto", exact=True)
    assert all_of_it.batches() == before.batches() + after.batches()
    assert len(before.batches()) == stop


@pytest.mark.parametrize("kind", ["streamed", "resumed"])
def test_an_epoch_that_was_left_early_leaves_no_place_to_go_on_from(tmp_path, kind):
    class Leave(Callback):
        state = ()

        def begin_batch(self, run):
            if run.epoch == 0 and run.batch_index == 3:
                raise CancelEpoch("enough")

    learn, _ = learner(KINDS[kind](), Checkpoint(tmp_path), Leave())
    learn.fit(1)
    learn, seen = learner(KINDS[kind](), Checkpoint(tmp_path), Leave())
    with pytest.warns(UserWarning, match="epochs 1 → 2"):
        learn.fit(2, resume="auto")
    assert [len(epoch) for epoch in seen.epochs] == [8]


@pytest.mark.parametrize("kind", ["streamed", "resumed"])
def test_a_validation_after_a_resume_is_whole(tmp_path, kind):
    class Counts(Callback):
        state = ()
        replays = False

        def __init__(self, stop=None):
            self.stop, self.sizes = stop, []

        def begin_validate(self, run):
            self.sizes.append(0)

        def after_batch(self, run):
            self.sizes[-1:] = [n + (not run.training) for n in self.sizes[-1:]]
            if run.training and run.n_iter == self.stop:
                run.interrupt("test")

    def fit(counts, **arguments):
        learn = tiny_learner(
            [Checkpoint(tmp_path), counts],
            data=DataBunch(foreign.torchs(shuffle=False), KINDS[kind]()),
            split_batch=lambda batch: batch[:2],
        )
        learn.fit(2, validate_every="2 steps", **arguments)
        return counts.sizes

    assert fit(Counts(stop=5)) == [8, 8]
    with pytest.warns(UserWarning, match="cannot be entered in the middle"):
        assert fit(Counts(), resume="auto") == [8] * 6

"""The promise, tried out with one's own parts."""

import random
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lehr import Callback, DataBunch
from lehr.callbacks import CSVLog, EarlyStopping, ParamScheduler
from lehr.schedules import sched_cos
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Window(Callback):
    batches_per_step = 2

    def begin_batch(self, run):
        run.closes = run.batch_index % 2 == 1


class Counts(Callback):
    def begin_fit(self, run):
        self.seen = 0

    def after_step(self, run):
        self.seen += 1


class Declared(Counts):
    state = ("seen",)


def test_lehrs_own_parts_keep_it_at_every_kind_of_place(tmp_path):
    parts = [ParamScheduler("lr", sched_cos(0.1, 0)), EarlyStopping("valid_loss"), Window()]
    check = tiny_learner(parts).check_resume([CSVLog(tmp_path / "log.csv")])
    assert check.ok
    assert set(check.points) == {
        "after the first batch",
        "in the middle of an epoch",
        "at the last batch of an epoch",
        "at the end of an epoch",
        "at the first batch of the next epoch",
        "in the middle of an update window",
        "during a validation",
    }
    assert check.onlookers == ["csv_log"]
    assert not list(tmp_path.iterdir())
    assert "during a validation: the same\nleft out, as nothing depends on them" in repr(check)


def test_what_a_callback_forgot_to_declare_is_named():
    check = tiny_learner([Counts()]).check_resume(epochs=1)
    assert not check.ok
    found = check.points["after the first batch"]
    assert found == "callbacks.counts.seen (which `state` does not declare): 4 against 3"
    assert tiny_learner([Declared()]).check_resume(epochs=1).ok


def test_a_state_that_is_not_loaded_is_named():
    class Forgets(Declared):
        def load_state_dict(self, state_dict):
            pass

    check = tiny_learner([Forgets()]).check_resume(epochs=1)
    assert check.points["in the middle of an epoch"] == "callbacks.forgets.seen: 4 against 2"


def test_what_changes_weights_by_chance_is_told_apart():
    class Chance(Callback):
        def after_backward(self, run):
            with torch.no_grad():
                run.model[0].weight.add_(random.SystemRandom().random())

    check = tiny_learner([Chance()]).check_resume()
    assert not check.ok
    assert check.points == {}
    assert "model.0.weight" in check.repeats
    assert "two runs without a stop are not the same: model.0.weight" in repr(check)


def test_nothing_is_left_of_it():
    learn = tiny_learner(seed=None)
    learn.fit(1)
    run, before = learn.run, capture(learn.state_entries())
    learn.check_resume(epochs=1)
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.run is run


def test_a_long_epoch_is_shortened_and_a_foreign_loader_too():
    class Counting(torch.utils.data.Dataset):
        def __len__(self):
            return 4000

        def __getitem__(self, i):
            assert i < 4000
            return torch.full((3,), i / 4000), i % 2

    loader = torch.utils.data.DataLoader(Counting(), 4, shuffle=True)
    valid = {"a": [next(iter(loader))] * 9, "b": lambda: iter(loader)}
    learn = tiny_learner(data=DataBunch(loader, valid))
    assert learn.check_resume(batches=3).ok
    assert len(loader) == 1000


def items():
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(24, 3, generator=generator), torch.arange(24) % 2)


def test_each_of_its_trainings_finds_the_loaders_generator_as_it_is():
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(items(), 4, shuffle=True, generator=generator)
    before = generator.get_state()
    assert tiny_learner(data=DataBunch(loader)).check_resume(batches=3).ok
    assert torch.equal(generator.get_state(), before)


class Positioned:
    """A loader with a place, which begins a pass when it is asked for it, as torchdata's does."""

    def __init__(self, *, forgets=False):
        self.generator, self.forgets = torch.Generator().manual_seed(3), forgets
        self.reading, self.loaded, self.asked = None, None, False

    def state_dict(self):
        if self.reading is None:
            self.reading, self.asked = Reading(self.generator, 0), True
        reading = self.reading
        return {"order": reading.began, "at": 0 if self.forgets else reading.at}

    def load_state_dict(self, state):
        self.reading, self.loaded, self.asked = None, dict(state), False

    def __iter__(self):
        if not self.asked:
            at = 0
            if self.loaded is not None:
                self.generator.set_state(self.loaded["order"])
                at = self.loaded["at"]
            self.reading, self.loaded = Reading(self.generator, at), None
        self.asked = False
        return self.reading

    def __len__(self):
        return 6


class Reading:
    def __init__(self, generator, at):
        self.began = generator.get_state()
        self.batches, self.at = torch.randperm(24, generator=generator).split(4), at

    def __iter__(self):
        return self

    def __next__(self):
        if self.at == 6:
            raise StopIteration
        self.at += 1
        chosen = [items()[i] for i in self.batches[self.at - 1].tolist()]
        return torch.stack([x for x, _ in chosen]), torch.tensor([int(y) for _, y in chosen])

    def __reduce_ex__(self, protocol):
        raise TypeError("a pass cannot be copied")


@pytest.mark.parametrize("batches", [3, 6])
def test_a_loader_that_begins_a_pass_when_asked_for_its_place_is_tried_as_it_is_read(batches):
    loader = Positioned()
    learn = tiny_learner(data=DataBunch(loader))
    check = learn.check_resume(batches=batches)
    assert check.ok, check
    assert loader.reading is None  # it was not asked, but a copy
    learn.fit(1)  # and now there is one
    assert loader.reading is not None
    assert learn.check_resume(batches=batches).ok
    forgets = tiny_learner(data=DataBunch(Positioned(forgets=True))).check_resume(batches=batches)
    assert not forgets.ok  # the control


def test_what_moves_only_after_the_first_epochs_is_found_where_the_last_of_several_is_stopped():
    class Late(Callback):
        state = ()

        def begin_fit(self, run):
            self.seen = 0

        def after_epoch(self, run):
            self.seen += run.epoch == 1

    found = tiny_learner([Late()]).check_resume(epochs=3, batches=4)
    assert [point for point, difference in found.points.items() if difference] == [
        "in the last epoch"
    ]
    Late.state = ("seen",)
    assert tiny_learner([Late()]).check_resume(epochs=3, batches=4).ok  # the control


def test_without_validation_and_in_one_epoch_there_are_fewer_places():
    data = DataBunch(tiny_learner().data.train_dl)
    check = tiny_learner(data=data).check_resume(epochs=1, batches=2)
    assert check.ok
    assert len(check.points) == 4


@pytest.mark.parametrize("name", ["epochs", "batches"])
def test_numbers_are_checked(name):
    with pytest.raises(ValueError, match=name):
        tiny_learner().check_resume(**{name: 0})


class Scaled:
    """Divides by the mean of its past, of which no checkpoint knows."""

    def __init__(self):
        self.mean = 1.0

    def __call__(self, pred, yb):
        loss = torch.nn.functional.cross_entropy(pred, yb)
        if loss.requires_grad:
            self.mean = 0.9 * self.mean + 0.1 * loss.item()
        return loss / self.mean

    def method(self, pred, yb):
        return self(pred, yb)


class Kept(Scaled):
    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state_dict):
        self.mean = state_dict["mean"]


@pytest.mark.parametrize("make", [Scaled, lambda: Scaled().method, lambda: partial(Kept().method)])
def test_a_loss_whose_state_no_checkpoint_keeps_is_named(make):
    loss_func = make()
    check = tiny_learner(loss_func=loss_func).check_resume(batches=3)
    assert not check.ok
    assert check.repeats is None
    found = check.points["in the middle of an epoch"]
    assert found.startswith("loss_func.mean (no checkpoint keeps it, without state_dict and load_")
    assert getattr(loss_func, "mean", 1.0) == 1.0


def test_a_loss_with_a_state_dict_goes_on(tmp_path):
    assert tiny_learner(loss_func=Kept()).check_resume(batches=3).ok


def test_a_loss_function_without_state_is_no_difference():
    def loss(pred, yb):
        return torch.nn.functional.cross_entropy(pred, yb)

    loss.noted = [1]
    assert tiny_learner(loss_func=loss).check_resume(batches=2).ok

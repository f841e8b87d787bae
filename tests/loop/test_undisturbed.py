"""Callbacks and runs are as they were, though something else happened in between."""

import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from lehr import Callback, DataBunch
from lehr.loop.undisturbed import same_attributes, undisturbed
from lehr.record.history import History
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Keeps(Callback):
    state = ("numbers",)

    def begin_fit(self, run):
        self.numbers, self.other = [1.0], "as it was"


def test_a_callback_has_its_attributes_and_its_declared_state_again():
    keeps = Keeps()
    keeps.begin_fit(None)
    numbers = keeps.numbers
    with undisturbed(tiny_learner(), [keeps]):
        keeps.numbers.append(2.0)
        keeps.other = keeps.more = "another"
    assert vars(keeps) == {"numbers": [1.0], "other": "as it was"}
    with undisturbed(tiny_learner(), [keeps]):
        keeps.numbers = numbers = keeps.numbers
    assert keeps.numbers is numbers  # what did not change is the same object


def test_attributes_alone_can_be_kept():
    keeps = Keeps()
    keeps.begin_fit(None)
    numbers = keeps.numbers
    with same_attributes(tiny_learner(), [keeps]):
        keeps.numbers.append(2.0)
        keeps.numbers, keeps.more = [], "another"
    assert vars(keeps) == {"numbers": [1.0, 2.0], "other": "as it was"}  # the state is not kept
    assert keeps.numbers is numbers


@pytest.mark.parametrize("door", ["rehearse", "validate"])
def test_the_course_of_a_run_is_kept_once(door, monkeypatch):
    seen, real = [], History.state_dict
    monkeypatch.setattr(History, "state_dict", lambda self: seen.append(self) or real(self))

    class Looks(Callback):
        def after_batch(self, run):
            if run.n_iter == 2 and run.training:
                getattr(run.learn, door)(*(2,) * (door == "rehearse"))
                self.kept = seen.count(run.history)

    looks = Looks()
    tiny_learner([looks], rehearsal=False).fit(1)
    # what can be compared at the end is captured there once more
    assert looks.kept == {"rehearse": 1, "validate": 2}[door]


def test_what_can_no_longer_be_captured_is_put_back():
    keeps = Keeps()
    keeps.begin_fit(None)
    with undisturbed(tiny_learner(), [keeps]):
        keeps.numbers.append(object())
    assert keeps.numbers == [1.0]


def test_the_history_and_the_streams_of_a_run_that_is_under_way_are_kept():
    class Looks(Callback):
        def after_batch(self, run):
            if run.n_iter == 2:
                run.stream("here")
                before = capture(run.state_entries())
                with undisturbed(run.learn):
                    run.log("here", 1.0)
                    torch.rand(1, generator=run.stream("here"))
                    run.recorder.after_batch(run)
                    changed = capture(run.state_entries())
                after = capture(run.state_entries())
                for state in (before, changed, after):
                    del state["callbacks.recorder"]["unfinished"]["seconds"]
                self.differences = (
                    first_difference(before, changed),
                    first_difference(before, after),
                )

    looks = Looks()
    tiny_learner([looks], rehearsal=False).fit(1)
    changed, after = looks.differences
    assert changed is not None
    assert after is None


def test_the_generator_of_a_loader_is_kept():
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.zeros(8, 3), torch.zeros(8, dtype=torch.long))
    loader = TorchLoader(data, batch_size=4, shuffle=True, generator=generator)
    learn = tiny_learner(data=DataBunch(loader, {"one": loader}))
    before = generator.get_state()
    with undisturbed(learn):
        list(loader)
        assert not generator.get_state().equal(before)
    assert generator.get_state().equal(before)

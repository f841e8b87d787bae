"""Callback: its name, and the attributes that survive a stop."""

import pytest
import torch

from lehr import Callback
from lehr.callbacks import Checkpoint
from lehr.errors import ResumeWarning
from lehr.events import Layer, Phase
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Best(Callback):
    state = ("best", "epoch")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("CountSteps", "count_steps"),
        ("RecorderCallback", "recorder"),
        ("LRFinder", "lr_finder"),
        ("UseCUDA", "use_cuda"),
        ("EMA", "ema"),
        ("Adam2Sgd", "adam2_sgd"),
        ("Callback", "callback"),
        ("plain", "plain"),
    ],
)
def test_the_name_is_the_class_in_snake_case(kind, name):
    assert type(kind, (Callback,), {})().name == name


def test_what_a_callback_is_unless_it_says_otherwise():
    callback = Callback()
    assert (callback.phase, callback.layer) == (Phase.MEASURE, Layer.TRANSFORM)
    assert (callback.state, callback.regrads) == ((), False)
    assert repr(Best()) == "Best()"


def test_state_is_what_is_declared_and_set():
    callback = Best()
    assert callback.state_dict() == {}
    callback.best, callback.other = 0.5, "not declared"
    assert callback.state_dict() == {"best": 0.5}


def test_state_round_trips_and_what_was_left_out_is_unset():
    source, target = Best(), Best()
    source.best = 0.5
    target.best, target.epoch, target.other = 0.9, 3, "kept"
    assert target.state_dict() != source.state_dict()
    target.load_state_dict(source.state_dict())
    assert target.state_dict() == source.state_dict()
    assert target.other == "kept"
    assert not hasattr(target, "epoch")


def test_an_attribute_of_the_class_is_what_an_unset_one_falls_back_to():
    class Patient(Callback):
        state = ("best",)
        best = float("inf")

    callback = Patient()
    assert callback.state_dict() == {"best": float("inf")}
    callback.best = 1.0
    callback.load_state_dict({})
    assert callback.best == float("inf")


def test_a_state_that_was_never_declared_is_refused_and_nothing_changes():
    callback = Best()
    callback.best = 0.5
    match = r"Best has no state named 'bset'; it declares \('best', 'epoch'\)\. Was it saved by "
    with pytest.raises(KeyError, match=match):
        callback.load_state_dict({"best": 0.1, "bset": 0.1})
    assert callback.best == 0.5


class Holds(Callback):
    """A module, an optimizer and a tensor, made when a fit begins."""

    state = ("mean", "opt", "total")

    def begin_fit(self, run):
        self.mean = torch.optim.swa_utils.AveragedModel(run.model)
        self.opt = torch.optim.Adam(self.mean.parameters(), lr=0.01)
        self.total = torch.zeros(2)

    def after_step(self, run):
        self.mean.update_parameters(run.model)
        for p in self.mean.parameters():
            p.grad = torch.ones_like(p)
        self.opt.step()
        self.total += run.pred.detach().sum(0)


def test_modules_and_optimizers_may_be_state_and_are_resumed_and_probed(tmp_path):
    straight, stopped, resumed = Holds(), Holds(), Holds()
    tiny_learner().fit(2, [straight])
    tiny_learner().fit(1, [stopped, Checkpoint(tmp_path)])
    learn = tiny_learner([resumed])
    with pytest.warns(ResumeWarning, match="epochs 1 → 2"):
        learn.fit(2, [Checkpoint(tmp_path)], resume="auto")
    ends = [capture({"callback": callback}) for callback in (straight, stopped, resumed)]
    assert first_difference(ends[0], ends[2]) is None
    assert first_difference(ends[1], ends[2])
    assert tiny_learner().check_resume([Holds()]).ok
    mean = resumed.mean
    with learn.probe():
        learn.fit(1)
        assert first_difference(ends[2], capture({"callback": resumed}))
    assert first_difference(ends[2], capture({"callback": resumed})) is None
    assert mean.n_averaged == 8


def test_a_state_from_before_a_module_was_made_takes_its_place():
    holds = Holds()
    holds.mean = None
    before = holds.state_dict()
    holds.mean = torch.nn.Linear(1, 1)
    assert holds.state_dict() != before
    holds.load_state_dict(before)
    assert holds.mean is None

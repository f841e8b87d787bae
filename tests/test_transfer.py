"""The head first, then everything, in one fit."""

from functools import partial

import pytest
import torch
from torch import nn

import lehr
from lehr import Callback
from lehr.callbacks import Checkpoint, Freeze, ParamScheduler
from lehr.optim import layer_groups
from lehr.schedules import combine_scheds, constant, one_cycle
from lehr.state.differences import first_difference
from lehr.testing import tiny_learner
from lehr.transfer import groups_by_depth


def learner(*callbacks, opt=None, **groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    if opt is None:
        groups = layer_groups(model, {"body": ..., "head": "3"}, lr=slice(0.01, 0.1), **groups)
        opt = torch.optim.AdamW(groups)
    return tiny_learner(callbacks, model=model, opt=opt)


class Course(Callback):
    """Keeps what was trained at each step, with which rates."""

    state = ()

    def __init__(self):
        self.trained, self.rates = [], []

    def after_step(self, run):
        self.trained.append({n[0] for n, p in run.model.named_parameters() if p.requires_grad})
        self.rates.append([group["lr"] for group in run.opt.param_groups])


@pytest.mark.parametrize("spared", [(), ("biases", "norms")])
def test_the_head_is_trained_first_and_then_everything_with_rates_of_their_own(spared):
    course = Course()
    lehr.fine_tune(learner(no_decay=spared), 2, callbacks=[course])
    assert course.trained == [{"3"}] * 4 + [{"0", "1", "3"}] * 8
    factor = combine_scheds(
        [1 / 3, 2 / 3], [one_cycle(1.0, pct_start=0.99), one_cycle(0.5, pct_start=0.3, div=5.0)]
    )
    for step, rates in enumerate(course.rates):
        assert rates[0] == pytest.approx(0.01 * factor(step / 12))
        assert rates[-1] == pytest.approx(0.1 * factor(step / 12))


def test_it_is_the_fit_with_the_two_callbacks():
    ours, hand = learner(), learner()
    run = lehr.fine_tune(ours, 1, 2, schedule=constant(0.5))
    other = hand.fit(
        3,
        callbacks=[
            Freeze({"head": 0, "body": 2}),
            ParamScheduler("lr", constant(0.5), relative=True),
        ],
    )
    assert run.history["loss"] == other.history["loss"] != learner().fit(3).history["loss"]
    assert [group["lr"] for group in ours.opt.param_groups] == [0.01, 0.1]


@pytest.mark.parametrize(("epochs", "first"), [(2, 0), (0, 2)])
def test_either_part_may_be_left_out(epochs, first):
    course = Course()
    run = lehr.fine_tune(learner(), epochs, first, callbacks=[course])
    assert run.n_steps == 8
    assert course.trained == [{"0", "1", "3"} if epochs else {"3"}] * 8


@pytest.mark.parametrize("head", ["3", ["3"], ["1", "3"]])
def test_the_head_may_be_a_path(head):
    course = Course()
    learn = learner(opt=partial(torch.optim.SGD, lr=0.1))
    lehr.fine_tune(learn, 1, head=head, batch_norm="running", callbacks=[course])
    assert course.trained[0] == set(head)


def test_it_is_resumed_anywhere_as_one_fit(tmp_path):
    class Stop(Callback):
        state = ()
        replays = False

        def after_step(self, run):
            if run.n_steps == 5:
                run.interrupt("test")

    def tune(folder, *callbacks):
        learn = learner(Checkpoint(tmp_path / folder))
        lehr.fine_tune(learn, 2, callbacks=callbacks, resume="auto", exact=True)
        return dict(learn.model.state_dict())

    straight = tune("straight")
    stopped = tune("stopped", Stop())
    assert first_difference(straight, tune("stopped")) is None
    assert first_difference(straight, stopped) is not None


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"epochs": -1}, ValueError, "epochs must be at least 0; got -1"),
        ({"epochs": 1, "freeze_epochs": 0.5}, TypeError, "freeze_epochs must be an int of at"),
        ({"epochs": 1, "head": "fc"}, ValueError, "no parameter of the model is in 'fc'"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        lehr.fine_tune(learner(), **arguments)


def test_a_last_group_without_a_name_is_refused():
    learn = learner(opt=partial(torch.optim.SGD, lr=0.1))
    with pytest.raises(ValueError, match=r"does not know the head: .* with 6 parameters, has no n"):
        lehr.fine_tune(learn, 1)


def test_groups_by_depth_have_rates_that_rise_to_the_head():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    groups = groups_by_depth(model, lr=0.1)
    assert [group["name"] for group in groups] == ["block 0", "block 1", "new head"]
    assert [group["lr"] for group in groups] == pytest.approx([0.001, 0.01, 0.1])
    assert [id(p) for group in groups for p in group["params"]] == list(map(id, model.parameters()))
    course = Course()
    learn = tiny_learner(model=model, opt=torch.optim.AdamW(groups))
    lehr.fine_tune(learn, 1, callbacks=[course])
    assert course.trained == [{"3"}] * 4 + [{"0", "1", "3"}] * 4


def test_a_part_of_a_block_can_be_the_head():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)))
    groups = groups_by_depth(model, lr=0.1, head=["1.1"])
    assert [len(group["params"]) for group in groups] == [2, 2, 2]


def test_a_model_that_is_all_head_has_no_depth():
    with pytest.raises(ValueError, match="head must be a part of the model"):
        groups_by_depth(nn.Linear(3, 2), lr=0.1)

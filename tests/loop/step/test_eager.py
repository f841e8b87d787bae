"""The step is the five lines that a loop of one's own would have."""

import copy

import pytest
import torch
from torch import nn

from lehr.callbacks import Checkpoint, ParamScheduler, Recorder
from lehr.events import ACTIONS
from lehr.loop.run import Run
from lehr.loop.step.eager import EagerStep
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.testing import tiny_learner


@pytest.fixture
def parts():
    learn = tiny_learner()
    run = Run(learn, learn.planned(learn.data), [Recorder()])
    run.xb, run.yb = torch.randn(8, 3), torch.arange(8) % 2
    return learn, run, EagerStep(run)


def test_there_is_a_verb_for_each_action_but_the_whole_batch(parts):
    assert {*parts[2].actions(), "one_batch"} == {*ACTIONS}
    assert "one_batch" not in parts[2].actions()


def test_it_is_the_five_lines(parts):
    _, run, step = parts
    other = copy.deepcopy(run.model)
    opt = torch.optim.SGD(other.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(other(run.xb), run.yb)
    loss.backward()
    run.weight = 8
    step.predict()
    step.compute_loss()
    run.window.add(run)
    step.backward()
    step.finish_grad()
    pairs = list(zip(run.model.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(p.grad, q.grad) for p, q in pairs)
    assert not run.stepped
    step.step()
    opt.step()
    assert run.stepped
    assert all(torch.equal(p, q) for p, q in pairs)
    step.zero_grad()
    assert all(p.grad is None for p in run.model.parameters())
    assert torch.equal(run.loss, loss)


def test_without_a_target_the_loss_has_the_prediction_alone(parts):
    _, run, step = parts
    run.yb, run.loss_func = None, lambda pred: pred.sum()
    step.predict()
    step.compute_loss()
    assert torch.equal(run.loss, run.pred.sum())


@pytest.mark.parametrize("nest", [tuple, list, lambda two: dict(zip("ab", two, strict=True))])
def test_the_input_may_be_made_of_several(parts, nest):
    _, run, step = parts
    run.model = lambda a, b: a - b
    run.xb = nest([torch.ones(2), torch.zeros(2)])
    step.predict()
    assert torch.equal(run.pred, torch.ones(2))


def test_several_optimizers_step(parts):
    learn, run, step = parts
    first, last = learn.model[0], learn.model[2]
    run.opt = {
        "first": torch.optim.SGD(first.parameters(), lr=0.1),
        "last": torch.optim.SGD(last.parameters(), lr=0.1),
    }
    for p in learn.model.parameters():
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in learn.model.parameters()]
    step.step()
    after = list(learn.model.parameters())
    assert all(torch.allclose(p - 0.1, q) for p, q in zip(before, after, strict=True))


@pytest.mark.parametrize("door", [lambda learn: learn.fit(1), lambda learn: learn.validate()])
def test_a_loss_function_that_forgets_to_return_is_named_in_training_and_in_validation(door):
    learn = tiny_learner(loss_func=lambda pred, yb: None)
    with pytest.raises(
        TypeError, match=r"loss_func must return the loss.*it returned None"
    ) as caught:
        door(learn)
    assert "In compute_loss, epoch 0" in caught.value.__notes__[0]
    learn.predict(learn.data.valid_dl)  # there is no loss


class Accelerated(torch.optim.Optimizer):
    """As accelerate's: a wrapper of torch's class that tells whether its step was skipped."""

    def __init__(self, optimizer, skips=()):
        self.optimizer, self.skips, self.asked, self.step_was_skipped = optimizer, skips, 0, False

    param_groups = property(lambda self: self.optimizer.param_groups)
    state = property(lambda self: self.optimizer.state)
    defaults = property(lambda self: self.optimizer.defaults)

    def __getstate__(self):
        return dict(vars(self))

    def __setstate__(self, state):
        vars(self).update(state)  # torch's own would change the step of the class, for all tests

    def state_dict(self):
        return self.optimizer.state_dict()

    def load_state_dict(self, state):
        self.optimizer.load_state_dict(state)

    def zero_grad(self, set_to_none=None):
        self.optimizer.zero_grad()

    def train(self):
        pass

    def eval(self):
        pass

    def step(self, closure=None):
        self.step_was_skipped = self.asked in self.skips
        self.asked += 1
        if not self.step_was_skipped:
            self.optimizer.step(closure)
        return 7


def accelerated(skips=()):
    learn = tiny_learner()
    learn.opt = Accelerated(torch.optim.SGD(learn.model.parameters(), lr=0.1), skips)
    return learn


def test_a_step_that_the_optimizer_says_it_skipped_is_none():
    schedule = ParamScheduler("lr", sched_lin(0.4, 0.0))
    run = accelerated(skips=(1, 2)).fit(1, [schedule])
    assert run.n_steps == 2
    assert run.history["lr"] == pytest.approx([0.4, 0.3, 0.3, 0.3])
    assert accelerated().fit(1).n_steps == 4


def test_of_several_optimizers_all_must_have_skipped_it():
    learn = tiny_learner()
    one, other = learn.model[0].parameters(), learn.model[2].parameters()
    one = Accelerated(torch.optim.SGD(one, lr=0.1), skips=(0, 1))
    learn.opt = {"a": one, "b": Accelerated(torch.optim.SGD(other, lr=0.1), skips=(1, 2))}
    assert learn.fit(1).n_steps == 3
    learn.opt["b"] = learn.opt["b"].optimizer
    learn.opt["a"].asked = 0
    assert learn.fit(1).n_steps == 4


def test_a_wrapper_trains_as_what_is_in_it_and_is_probed_and_resumed(tmp_path):
    learn, plain = accelerated(), tiny_learner()
    assert learn.fit(2).history["loss"] == plain.fit(2).history["loss"]
    before = copy.deepcopy(learn.model.state_dict())
    learn.find_lr(steps=10)
    learn.rehearse(2)
    assert first_difference(before, learn.model.state_dict()) is None
    assert learn.check_resume(batches=3).ok


def test_the_hooks_of_torchs_optimizers_are_called(tmp_path):
    calls = []
    learn = tiny_learner([Checkpoint(tmp_path)])
    opt = learn.opt = torch.optim.SGD(learn.model.parameters(), lr=0.1)
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    opt.register_state_dict_post_hook(lambda _, state: {**state, "mine": 3})
    opt.register_load_state_dict_pre_hook(lambda _, state: calls.append(state["mine"]))
    learn.fit(1)
    assert calls == ["before", "after"] * 4
    again = tiny_learner([Checkpoint(tmp_path)])
    again.opt = torch.optim.SGD(again.model.parameters(), lr=0.1)
    again.opt.register_load_state_dict_pre_hook(lambda _, state: calls.append(state["mine"]))
    again.fit(1, resume="auto")
    assert calls[-1] == 3


class Bare:
    """No optimizer of torch's: its rate is called otherwise, and it clears no gradients."""

    def __init__(self, params):
        self.param_groups = [{"params": list(params), "step_size": 0.1, "name": "all"}]

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                with torch.no_grad():
                    p.sub_(p.grad, alpha=group["step_size"])
        return "done"


def test_an_optimizer_with_names_of_its_own_trains_and_is_scheduled():
    learn, plain = tiny_learner(opt=Bare), tiny_learner()
    assert learn.fit(2).history["loss"] == plain.fit(2).history["loss"]
    assert "lr" not in learn.run.history
    run = learn.fit(1, [ParamScheduler("step_size", sched_lin(0.4, 0.0))])
    assert run.history["step_size"] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert learn.opt.param_groups[0]["step_size"] == 0.1
    with pytest.raises(ValueError, match=r"no hyper-parameter 'lr' .*which has step_size, name"):
        learn.fit(1, [ParamScheduler("lr", sched_lin(0.4, 0.0))])


def test_groups_with_names_and_named_parameters_train():
    learn = tiny_learner()
    named = list(learn.model.named_parameters())
    groups = [{"params": named[:2], "name": "body"}, {"params": named[2:], "lr": 0.2}]
    learn.opt = torch.optim.SGD(groups, lr=0.1)
    run = learn.fit(1, [ParamScheduler("lr", sched_lin(1.0, 0.0), relative=True)])
    assert run.history["lr"] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert [group["lr"] for group in learn.opt.param_groups] == [0.1, 0.2]
    assert learn.check_resume(batches=3).ok

"""The step is the five lines that a loop of one's own would have."""

import copy

import pytest
import torch
from torch import nn

from lehr.callbacks import Recorder
from lehr.events import ACTIONS
from lehr.loop.run import Run
from lehr.loop.step.eager import EagerStep
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

"""The callbacks that the handler asks."""

import pytest
import torch

from lehr.foundations import answers, handler, train_batch
from lehr.foundations.answers import Callback
from lehr.foundations.handler import CallbackHandler


def weights(learn):
    return [p.detach().clone() for p in learn.model.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_callback_keeps_what_it_is_told(make_learner):
    """A callback keeps the Learner, the epoch's number, the batch and the loss."""
    learn, cb = make_learner(), Callback()
    handler.fit(2, learn, CallbackHandler([cb]))
    assert cb.learn is learn
    assert cb.epoch == 1
    xb, yb = list(learn.data.valid_dl)[-1]
    assert torch.equal(cb.xb, xb)
    assert torch.equal(cb.yb, yb)
    assert torch.equal(cb.loss, learn.loss_func(learn.model(xb), yb))


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_test_callback_stops_after_exactly_ten_steps(make_learner, capsys, epochs):
    """It prints 1 to 10, and the weights are those of ten steps, however many epochs are asked."""
    stopped, ten = make_learner(98), make_learner(98)
    handler.fit(epochs, stopped, CallbackHandler([answers.TestCallback()]))
    assert capsys.readouterr().out.split() == [str(i) for i in range(1, 11)]
    learns = {10: ten, 11: make_learner(98)}
    for steps, learn in learns.items():
        for _, (xb, yb) in zip(range(steps), learn.data.train_dl, strict=False):
            train_batch(xb, yb, learn.model, learn.loss_func, learn.opt)
    assert equal(weights(stopped), weights(ten))
    assert not equal(weights(stopped), weights(learns[11]))

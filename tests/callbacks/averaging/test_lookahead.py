"""Slow weights that follow those of the optimizer."""

import pytest
import torch
from torch.nn import functional as F

from lehr import Callback
from lehr.callbacks import EMA, SWA, Lookahead
from lehr.testing import tiny_learner


def written_by_hand(k, alpha, epochs):
    learn = tiny_learner()
    model = learn.model
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    slow = [p.detach().clone() for p in model.parameters()]

    def move():
        with torch.no_grad():
            for s, p in zip(slow, model.parameters(), strict=True):
                s += alpha * (p - s)
                p.copy_(s)

    steps = 0
    for epoch in range(epochs):
        feed = learn.planned(learn.data).train
        for (x, y), _ in feed.epoch(0, epoch):
            F.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
            steps += 1
            if steps % k == 0:
                move()
    if steps % k:
        move()
    return model


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.5), (3, 0.5), (4, 0.2), (5, 1.0)])
def test_it_is_its_definition(k, alpha):
    ours = tiny_learner([Lookahead(k, alpha=alpha)]).fit(2).model
    hand = written_by_hand(k, alpha, 2)
    for p, q in zip(ours.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


def test_with_alpha_one_nothing_is_changed_and_otherwise_something_is():
    plain = tiny_learner().fit(2).model[0].weight
    assert torch.equal(tiny_learner([Lookahead(2, alpha=1)]).fit(2).model[0].weight, plain)
    assert not torch.equal(tiny_learner([Lookahead(2)]).fit(2).model[0].weight, plain)


@pytest.mark.parametrize("length", [{"epochs": 2}, {"steps": 7}])
@pytest.mark.parametrize("every", [None, "1 step"])
def test_what_was_measured_last_is_what_is_kept(length, every):
    learn = tiny_learner([Lookahead(5)])
    run = learn.fit(**length, validate_every=every)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    plain = tiny_learner().fit(**length, validate_every=every)
    assert run.history["valid_loss"][-1] != plain.history["valid_loss"][-1]


def test_the_last_move_is_made_though_the_last_batch_makes_no_step():
    class Skip(Callback):
        state = ()

        def step(self, run, proceed):
            if run.n_iter != 3:
                proceed()

    learn, plain = tiny_learner([Lookahead(5), Skip()]), tiny_learner([Skip()])
    run = learn.fit(1)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    assert not torch.equal(run.model[0].weight, plain.fit(1).model[0].weight)


def test_a_fit_that_is_stopped_early_keeps_what_was_measured():
    class Stop(Callback):
        state = ()

        def after_epoch(self, run):
            run.stop("enough")

    learn, plain = tiny_learner([Lookahead(5), Stop()]), tiny_learner([Stop()])
    run = learn.fit(2)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    assert torch.equal(run.model[0].weight, plain.fit(2).model[0].weight)  # no move was due


@pytest.mark.parametrize("average", [Lookahead(3), EMA(0.5), SWA(0)], ids=str)
def test_a_fit_that_is_interrupted_leaves_the_weights_of_its_last_step(average):
    """One rule for all averages: a fit that may go on keeps what it goes on with."""

    class Interrupt(Callback):
        state = ()

        def __init__(self, at):
            self.at = at

        def after_step(self, run):
            self.weight = run.model[0].weight.detach().clone()
            if run.n_steps == self.at:
                run.interrupt("test")

    for at, kept in ((5, True), (-1, isinstance(average, Lookahead))):  # -1 ends as planned
        last = Interrupt(at)
        learn = tiny_learner([average, last])
        learn.fit(2)
        assert torch.equal(learn.model[0].weight, last.weight) is kept


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"k": 0}, "k must be at least 1; got 0"), ({"alpha": 2}, "alpha must be from 0 to 1; got 2")],
)
def test_arguments_that_cannot_be_used(arguments, text):
    with pytest.raises(ValueError, match=text):
        Lookahead(**arguments)


def test_its_repr_says_how_it_was_made():
    assert repr(Lookahead(7)) == "Lookahead(7, alpha=0.5)"

"""Slow weights that follow those of the optimizer."""

import pytest
import torch
from torch.nn import functional as F

from lehr.callbacks import Lookahead
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


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"k": 0}, "k must be at least 1; got 0"), ({"alpha": 2}, "alpha must be from 0 to 1; got 2")],
)
def test_arguments_that_cannot_be_used(arguments, text):
    with pytest.raises(ValueError, match=text):
        Lookahead(**arguments)


def test_its_repr_says_how_it_was_made():
    assert repr(Lookahead(7)) == "Lookahead(7, alpha=0.5)"

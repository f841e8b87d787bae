"""Sharpness-aware minimisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import CancelFit, DataBunch, Learner
from lehr.callbacks import SAM
from lehr.testing import tiny_learner


def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(18, 3, generator=draw, dtype=torch.float64)
    return model, list(zip(x.split(6), (x.sum(1) > 0).long().split(6), strict=True))


def written_by_hand(rho, adaptive):
    model, batches = problem()
    opt = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    held = list(model.parameters())
    for x, y in batches * 2:
        grads = torch.autograd.grad(F.cross_entropy(model(x), y), held)
        sizes = [p.detach().abs() if adaptive else torch.ones_like(p) for p in held]
        norm = torch.sqrt(sum((s * g).square().sum() for s, g in zip(sizes, grads, strict=True)))
        before = [p.detach().clone() for p in held]
        with torch.no_grad():
            for p, s, g in zip(held, sizes, grads, strict=True):
                p.add_(rho * s * s * g / norm)
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p, value in zip(held, before, strict=True):
                p.copy_(value)
        opt.step()
    return model


@pytest.mark.parametrize("adaptive", [False, True])
def test_it_is_its_definition(adaptive):
    model, batches = problem()
    opt = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    callbacks = [SAM(0.3, adaptive=adaptive)]
    Learner(model, opt, F.cross_entropy, DataBunch(batches), callbacks, progress=False).fit(2)
    for p, q in zip(model.parameters(), written_by_hand(0.3, adaptive).parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)
    other = written_by_hand(0.3, not adaptive)
    assert (model[0].weight - other[0].weight).abs().max() > 1e-4


def test_an_interruption_at_the_other_point_leaves_the_weights_where_they_were():
    class Break(SAM):
        def compute_loss(self, run, proceed):
            proceed()
            if run.replaying:
                raise CancelFit("enough")

    learn = tiny_learner([Break(0.5)])
    before = learn.model[0].weight.detach().clone()
    learn.fit(1)
    assert torch.equal(learn.model[0].weight, before)
    assert not torch.equal(tiny_learner([SAM(0.5)]).fit(1).model[0].weight, before)


def with_an_embedding(*, sparse, adaptive):
    """The weights after a fit of two layers, the first of which may have sparse gradients."""
    torch.manual_seed(0)
    words = nn.EmbeddingBag(9, 4, sparse=sparse, mode="sum")
    model = nn.Sequential(words, nn.Linear(4, 2)).double()
    ids = torch.randint(9, (24, 5), generator=torch.Generator().manual_seed(1))
    batches = list(zip(ids.split(6), (ids.sum(1) > 20).long().split(6), strict=True))
    opt = torch.optim.SGD(model.parameters(), lr=0.3)
    callbacks = [SAM(0.5, adaptive=adaptive)] if adaptive is not None else []
    Learner(model, opt, F.cross_entropy, DataBunch(batches), callbacks, progress=False).fit(2)
    return words.weight.detach()


@pytest.mark.parametrize("adaptive", [False, True])
def test_sparse_gradients_give_the_step_of_dense_ones(adaptive):
    sparse, dense = (with_an_embedding(sparse=s, adaptive=adaptive) for s in (True, False))
    torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-12)
    without = with_an_embedding(sparse=True, adaptive=None)
    assert (sparse - without).abs().max() > 1e-4


def test_a_distance_that_cannot_be_used():
    with pytest.raises(ValueError, match="rho must be above 0; got 0"):
        SAM(0)


def test_its_repr_says_how_it_was_made():
    assert repr(SAM()) == "SAM(0.05)"
    assert repr(SAM(0.5, adaptive=True)) == "SAM(0.5, adaptive=True)"

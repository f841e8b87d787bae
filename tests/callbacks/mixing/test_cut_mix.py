"""Rectangles of one image in another."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import CutMix


class Spy(CutMix):
    def __init__(self, alpha=1.0):
        super().__init__(alpha)
        self.batches = []

    def compute_loss(self, run, proceed):
        super().compute_loss(run, proceed)
        if run.training:
            self.batches.append((self._pairs, run.loss.item(), run.pred.detach(), run.xb, run.yb))


def learner(callback, shape=(6, 1, 9, 7)):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(shape[1:].numel(), 2))
    draw = torch.Generator().manual_seed(1)
    batches = [(torch.randn(shape, generator=draw), torch.arange(6) % 2) for _ in range(12)]
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    bunch = DataBunch(batches, batches[:1])
    return Learner(
        net, opt, F.cross_entropy, bunch, [callback], progress=False, seed=3, rehearsal=False
    )


def test_the_share_is_that_of_the_pixels_that_are_the_images_own():
    spy = Spy()
    learn = learner(spy, torch.Size((6, 1, 9, 7)))
    inputs = []
    learn.model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    learn.fit(1)
    shares = set()
    for (pairs, loss, pred, x, y), seen in zip(spy.batches, inputs, strict=False):
        own = seen == x
        theirs = seen == x[pairs.partner]
        assert (own | theirs).all()
        moved = pairs.partner != torch.arange(6)
        counted = own[moved].float().mean((1, 2, 3))
        torch.testing.assert_close(counted, torch.full_like(counted, pairs.share))
        first, second = F.cross_entropy(pred, y), F.cross_entropy(pred, y[pairs.partner])
        expected = pairs.share * first + (1 - pairs.share) * second
        assert loss == pytest.approx(expected.item(), abs=1e-6)
        shares.add(pairs.share)
    assert len(shares) > 6
    assert all(0 <= share <= 1 for share in shares)


def test_the_rectangle_is_one_and_the_same_in_a_batch():
    spy = Spy()
    learn = learner(spy, torch.Size((6, 1, 9, 7)))
    inputs = []
    learn.model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    learn.fit(1)
    for (_, _, _, x, _), seen in zip(spy.batches, inputs, strict=False):
        changed = (seen != x).any(0)[0]
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        if len(rows):
            box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()


def test_other_shapes_are_refused_with_words():
    net = nn.Linear(3, 2)
    batches = [(torch.randn(4, 3), torch.arange(4) % 2)]
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    learn = Learner(net, opt, F.cross_entropy, DataBunch(batches), [CutMix()], progress=False)
    with pytest.raises(ValueError, match=r"CutMix needs a batch of images.*got \(4, 3\)"):
        learn.fit(1)


def test_a_share_that_cannot_be_used():
    with pytest.raises(ValueError, match="alpha must be above 0; got -1"):
        CutMix(-1)


def test_its_repr_says_how_it_was_made():
    assert repr(CutMix()) == "CutMix(1.0)"

"""Weighted means of items."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import SAM, Accumulate, CutMix, MixUp
from lehr.testing import tiny_learner


class Spy(MixUp):
    """Keeps what was drawn, seen and lost."""

    def __init__(self, alpha=0.4):
        super().__init__(alpha)
        self.pairs, self.losses, self.seen = [], [], []

    def compute_loss(self, run, proceed):
        super().compute_loss(run, proceed)
        if run.training:
            self.pairs.append(self._pairs)
            self.losses.append((run.loss.item(), run.pred.detach(), run.xb, run.yb))


def test_the_loss_is_the_two_term_definition():
    spy = Spy()
    learn = tiny_learner([spy], rehearsal=False)
    inputs = []
    learn.model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    learn.fit(1)
    assert len(spy.pairs) == 4
    for (partner, share), (loss, pred, x, y), seen in zip(
        spy.pairs, spy.losses, inputs, strict=False
    ):
        torch.testing.assert_close(seen, share * x + (1 - share) * x[partner])
        first, second = F.cross_entropy(pred, y), F.cross_entropy(pred, y[partner])
        assert loss == pytest.approx((share * first + (1 - share) * second).item(), abs=1e-6)
        assert 0 < share < 1
        assert not torch.equal(seen, x)


def test_for_cross_entropy_it_is_the_loss_of_mixed_targets():
    spy = Spy()
    tiny_learner([spy]).fit(1)
    for (partner, share), (loss, pred, _, y) in zip(spy.pairs, spy.losses, strict=False):
        hot = F.one_hot(y, 2).float()
        mixed = F.cross_entropy(pred, share * hot + (1 - share) * hot[partner])
        assert loss == pytest.approx(mixed.item(), abs=1e-6)


def test_validation_predictions_and_the_order_of_the_data_are_left_alone():
    orders = []

    class Order(Callback):
        state = ()

        def begin_batch(self, run):
            if run.training:
                orders[-1].append(run.xb.clone())

    for callbacks in ([], [MixUp()]):
        orders.append([])
        learn = tiny_learner([*callbacks, Order()])
        learn.fit(2)
        plain = tiny_learner(model=learn.model)
        assert learn.validate() == plain.validate()
    assert all(map(torch.equal, *orders))


def test_a_second_look_at_the_batch_mixes_the_same_pairs():
    spy = Spy()
    tiny_learner([spy, SAM()]).fit(1)
    for first, second in zip(spy.pairs[::2], spy.pairs[1::2], strict=True):
        assert torch.equal(first.partner, second.partner)
        assert first.share == second.share
    assert spy.pairs[0].share != spy.pairs[2].share


def test_in_a_window_each_batch_is_mixed_again_as_it_was():
    class Compare(Callback):
        regrads = True
        state = ()

        def step(self, run, proceed):
            before = [p.grad.clone() for p in run.trained_parameters()]
            run.regrad()
            after = [p.grad for p in run.trained_parameters()]
            self.apart = max((a - b).abs().max().item() for a, b in zip(before, after, strict=True))
            proceed()

    compare = Compare()
    tiny_learner([MixUp(1.0), Accumulate(3), compare]).fit(1)
    assert compare.apart < 1e-6


def test_the_parts_of_a_loss_are_mixed_as_their_sum_is():
    def two(pred, y):
        return {"a": F.cross_entropy(pred, y), "b": pred[range(len(y)), y].mean()}

    class Look(Callback):
        state = ()

        def after_loss(self, run):
            total = sum(run.loss_parts.values())
            torch.testing.assert_close(total, run.loss)

    run = tiny_learner([MixUp(1.0), Look()], loss_func=two).fit(1)
    sums = [a + b for a, b in zip(run.history["a"], run.history["b"], strict=True)]
    assert sums == pytest.approx(run.history["loss"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"loss_func": lambda out: out.mean()}, "it gets the output alone"),
        ({"data": DataBunch([torch.randn(4, 3)]), "loss_func": lambda out, y=None: out.mean()},
         "the batch has no target"),
    ],
)  # fmt: skip
def test_a_loss_without_targets_is_refused(arguments, text):
    with pytest.raises(TypeError, match=f"mixed items have two targets each.*{text}"):
        tiny_learner([MixUp()], **arguments).fit(1)


def test_several_inputs_are_mixed_alike_and_whole_numbers_are_not():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.layer = nn.Embedding(5, 3), nn.Linear(3, 2)

        def forward(self, x, words):
            return self.layer(x + self.words(words))

    x, words = torch.randn(6, 3), torch.arange(6) % 5
    batches = [((x, words), torch.arange(6) % 2)]
    net = Two()
    seen = []
    net.register_forward_pre_hook(lambda module, args: seen.append(args))
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    Learner(net, opt, F.cross_entropy, DataBunch(batches), [MixUp()], progress=False).fit(1)
    assert not torch.equal(seen[-1][0], x)
    assert torch.equal(seen[-1][1], words)


def test_a_share_that_cannot_be_used():
    with pytest.raises(ValueError, match="alpha must be above 0; got 0"):
        MixUp(0)


def test_its_repr_says_how_it_was_made():
    assert repr(MixUp(0.2)) == "MixUp(0.2)"


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRU(3, 4), nn.Linear(4, 2)

    def forward(self, xb):
        return self.head(self.cell(xb)[1][-1])


def packed(count=4):
    sequences = [torch.randn(5 - i, 3) for i in range(count)]
    return nn.utils.rnn.pack_sequence(sequences)


def test_packed_sequences_are_refused_with_words():
    def fit(*callbacks):
        torch.manual_seed(0)
        model = Recurrent()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        data = DataBunch([(packed(), torch.arange(4) % 2)])
        return Learner(model, opt, F.cross_entropy, data, list(callbacks), progress=False).fit(1)

    with pytest.raises(TypeError, match=r"^the items of a PackedSequence cannot be mixed: "):
        fit(MixUp())
    with pytest.raises(ValueError, match=r"^CutMix needs a batch of images .*got PackedSequence"):
        fit(CutMix())
    assert fit().n_steps == 1


def test_packed_targets_are_refused_too():
    data = DataBunch([(torch.randn(4, 3), packed())])
    model = nn.Linear(3, 2)
    loss_func = lambda pred, yb: pred.sum() * yb.data.sum()  # noqa: E731
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=r"^the items of a PackedSequence cannot be mixed"):
        Learner(model, opt, loss_func, data, [MixUp()], progress=False).fit(1)

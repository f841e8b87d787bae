"""Batches that share a step."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import Accumulate, ParamScheduler
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner
from tests.tier import count


class Gradient(Callback):
    """Keeps the gradient of every step."""

    state = ()

    def __init__(self):
        self.seen = []

    def finish_grad(self, run, proceed):
        proceed()
        self.seen.append([p.grad.clone() for p in run.trained_parameters()])


def model(dtype):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def token_loss(pred, target):
    """The mean over targets that count; 0 where there are none."""
    if not (target >= 0).any():
        return pred.sum() * 0
    return F.cross_entropy(pred, target, ignore_index=-1)


@settings(max_examples=count(60), deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=9),
    batches=st.integers(1, 5),
    masked=st.sets(st.integers(0, 53)),
    double=st.booleans(),
)
def test_each_step_has_the_gradient_of_the_one_big_batch(sizes, batches, masked, double):
    dtype, tolerance = (torch.float64, 1e-12) if double else (torch.float32, 1e-6)
    n = sum(sizes)
    draw = torch.Generator().manual_seed(n)
    x = torch.randn(n, 3, generator=draw, dtype=dtype)
    y = torch.tensor([-1 if i in masked else i % 2 for i in range(n)])
    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))
    net, spy = model(dtype), Gradient()
    learn = Learner(
        net,
        torch.optim.SGD(net.parameters(), lr=0.0),
        token_loss,
        DataBunch(parts),
        [spy, Accumulate(batches)],
        weight=lambda run: int((run.yb >= 0).sum()),
        progress=False,
    )
    expected = []
    for i in range(0, len(parts), batches):
        xs, ys = (torch.cat(column) for column in zip(*parts[i : i + batches], strict=True))
        if (ys >= 0).any():
            loss = F.cross_entropy(net(xs), ys, ignore_index=-1)
            expected.append(torch.autograd.grad(loss, list(net.parameters())))
    if expected:
        learn.fit(1)
    assert len(spy.seen) == len(expected)
    for ours, theirs in zip(spy.seen, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_the_control_a_mean_of_means_is_another_gradient():
    net = model(torch.float64)
    x, y = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 2
    whole = torch.autograd.grad(F.cross_entropy(net(x), y), net[0].weight)[0]
    parts = [F.cross_entropy(net(a), b) for a, b in ((x[:8], y[:8]), (x[8:], y[8:]))]
    means = torch.autograd.grad(sum(parts) / 2, net[0].weight)[0]
    assert (whole - means).abs().max() > 1e-6


def test_four_batches_of_sixteen_train_as_one_of_sixty_four():
    one = tiny_learner(items=128, batch_size=64).fit(2)
    four = tiny_learner([Accumulate(4)], items=128, batch_size=16).fit(2)
    assert one.n_steps == four.n_steps == 4
    for a, b in zip(one.model.parameters(), four.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("batches", "steps"), [(781, 391), (780, 390), (1, 1)])
def test_the_leftover_of_an_odd_number_of_batches_is_flushed(batches, steps):
    """Stepping every second of 781 batches makes 391 steps an epoch, the last with the one batch
    that is left; nothing of it reaches the next epoch, whose gradients are the same."""
    spy, weight = Gradient(), nn.Linear(1, 1, bias=False)
    data = [(torch.full((1, 1), float(i + 1)),) for i in range(batches)]
    learn = Learner(
        weight,
        torch.optim.SGD(weight.parameters(), lr=0.0),
        lambda pred: pred.mean() / weight.weight.detach(),
        DataBunch(data),
        [Accumulate(2), spy],
        progress=False,
    )
    weight.weight.data.fill_(1.0)
    run = learn.fit(2)
    assert run.n_steps == 2 * steps
    seen = [gradient.item() for (gradient,) in spy.seen]
    pairs = [(i + min(i + 1, batches)) / 2 for i in range(1, batches + 1, 2)]
    assert seen == pytest.approx(pairs * 2)
    leaking = pairs[:-1] + [pairs[-1] + 1]
    assert seen != pytest.approx(leaking * 2)


def test_batchnorm_statistics_are_those_of_the_parts():
    """Two batches that share a step are not one to BatchNorm, which normalises and counts each by
    itself; without it they are one."""

    def stepped(norm, size):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
        x = torch.randn(16, 3)
        parts = list(zip(x.split(size), (x.sum(1) > 0).long().split(size), strict=True))
        opt = torch.optim.SGD(net.parameters(), lr=1.0)
        accumulate = Accumulate(16 // size)
        Learner(net, opt, F.cross_entropy, DataBunch(parts), [accumulate], progress=False).fit(1)
        return net

    for norm, same in ((nn.Identity(), True), (nn.BatchNorm1d(4), False)):
        whole, parted = (stepped(deepcopy(norm), size)[0].weight for size in (16, 8))
        assert torch.allclose(whole, parted, atol=1e-6) is same
    counted = stepped(nn.BatchNorm1d(4), 8)[1]
    assert counted.num_batches_tracked == 2


def test_the_number_of_steps_is_known_to_schedules():
    schedule = ParamScheduler("lr", sched_lin(0.4, 0.0))
    run = tiny_learner([Accumulate(3), schedule], items=40).fit(2)
    assert (run.n_iter, run.n_steps, run.planned_steps) == (10, 4, 4)
    assert [round(lr, 2) for lr in run.history["lr"]][::5] == [0.4, 0.2]


def test_items_close_a_window_as_soon_as_there_are_enough():
    spy = Gradient()
    run = tiny_learner([spy, Accumulate(items=20)], items=44, batch_size=8).fit(1)
    assert (run.n_iter, run.n_steps) == (6, 2)  # 24 items, then 20


def test_with_items_a_schedule_asks_how_long_the_fit_is():
    schedule = ParamScheduler("lr", sched_lin(0.4, 0.0))
    learn = tiny_learner([Accumulate(items=20), schedule])
    with pytest.raises(ValueError, match="steps_per_epoch="):
        learn.fit(1)
    assert learn.fit(1, steps_per_epoch=2).n_steps == 2


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "Accumulate needs a number of batches, or items; got batches=None"),
        ({"batches": 2, "items": 3}, ValueError, "got batches=2, items=3"),
        ({"batches": 0}, ValueError, "batches must be at least 1; got 0"),
        ({"items": 2.5}, TypeError, "items must be an int of at least 1; got 2.5"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        Accumulate(**arguments)


def test_its_repr_says_how_it_was_made():
    assert repr(Accumulate(4)) == "Accumulate(4)"
    assert repr(Accumulate(items=256)) == "Accumulate(items=256)"

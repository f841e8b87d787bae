"""Bounds on the gradient."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from lehr import Callback, Layer
from lehr.callbacks import Accumulate, ClipGradients
from lehr.testing import tiny_learner


class Before(Callback):
    """Keeps the gradient as it came."""

    layer = Layer.TRANSFORM
    state = ()

    def __init__(self):
        self.seen = []

    def finish_grad(self, run, proceed):
        self.seen.append([p.grad.clone() for p in run.trained_parameters()])
        proceed()


class After(Callback):
    """Keeps the gradient as the optimizer gets it."""

    layer = Layer.CLIP
    state = ()

    def __init__(self):
        self.seen = []

    def step(self, run, proceed):
        self.seen.append([p.grad.clone() for p in run.trained_parameters()])
        proceed()


def clipped(grads, function, *arguments):
    held = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for p, grad in zip(held, grads, strict=True):
        p.grad = grad.clone()
    norm = function(held, *arguments)
    return [p.grad for p in held], norm


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_the_norm_is_torchs_and_is_recorded_before_clipping(norm_type):
    before, after = Before(), After()
    clip = ClipGradients(0.05, norm_type=norm_type)
    run = tiny_learner([before, after, clip]).fit(2)
    for i, (came, went) in enumerate(zip(before.seen, after.seen, strict=True)):
        expected, norm = clipped(came, clip_grad_norm_, 0.05, norm_type)
        assert all(map(torch.equal, went, expected))
        assert not all(map(torch.equal, went, came))
        assert run.history["grad_norm"][i] == norm.item()


def test_values_are_cut_off_and_then_the_norm_is_bounded():
    before, after = Before(), After()
    tiny_learner([before, after, ClipGradients(0.02, max_value=0.01)]).fit(1)
    for came, went in zip(before.seen, after.seen, strict=True):
        cut, _ = clipped(came, clip_grad_value_, 0.01)
        expected, _ = clipped(cut, clip_grad_norm_, 0.02)
        assert all(map(torch.equal, went, expected))
        assert not all(map(torch.equal, went, cut))


def test_an_infinite_bound_changes_no_bit_and_records_the_norm():
    learn = tiny_learner([ClipGradients(math.inf)])
    run = learn.fit(1)
    plain = tiny_learner().fit(1)
    assert torch.equal(run.model[0].weight, plain.model[0].weight)
    assert len(run.history["grad_norm"]) == run.n_steps


def test_a_window_is_clipped_once_as_a_whole():
    before, after = Before(), After()
    run = tiny_learner([before, after, ClipGradients(0.05), Accumulate(4)]).fit(1)
    assert len(run.history["grad_norm"]) == len(before.seen) == run.n_steps == 1
    expected, _ = clipped(before.seen[0], clip_grad_norm_, 0.05)
    assert all(map(torch.equal, after.seen[0], expected))


def test_parameters_without_a_gradient_are_left_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    run = tiny_learner([ClipGradients(0.01)], model=model).fit(1)
    assert model[0].weight.grad is None
    assert run.history["grad_norm"][0] > 0.01


def test_sparse_gradients_are_clipped():
    model = nn.Sequential(nn.EmbeddingBag(9, 4, sparse=True, mode="sum"), nn.Linear(4, 2))
    from lehr import DataBunch, Learner

    words = torch.arange(24).reshape(6, 4) % 9
    batches = [(words, torch.arange(6) % 2)]
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_func = nn.functional.cross_entropy
    clip = ClipGradients(0.01)
    learn = Learner(model, opt, loss_func, DataBunch(batches), [clip], progress=False)
    before = model[0].weight.detach().clone()
    learn.fit(1)
    moved = model[0].weight - before
    assert 0 < moved.norm() <= 0.1 * 0.01 * 1.01


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "ClipGradients needs max_norm or max_value; got neither"),
        ({"max_norm": 0}, ValueError, "max_norm must be above 0; got 0"),
        ({"max_norm": "1"}, TypeError, "max_norm must be a real number; got '1'"),
        ({"max_value": -1}, ValueError, "max_value must be above 0; got -1"),
        ({"max_norm": 1, "norm_type": 0}, ValueError, "norm_type must be above 0; got 0"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        ClipGradients(**arguments)


def test_its_repr_says_how_it_was_made():
    assert repr(ClipGradients(1.0)) == "ClipGradients(1.0)"
    shown = repr(ClipGradients(1.0, norm_type=math.inf, max_value=2.0))
    assert shown == "ClipGradients(1.0, norm_type=inf, max_value=2.0)"


def test_complex_values_cannot_be_cut_off_but_their_norm_can_be_bounded():
    def learner(*args, **kwargs):
        weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        model = nn.Linear(3, 2)
        model.turn = weight
        model.forward = lambda x: nn.functional.linear((x * weight).real, model.weight, model.bias)
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        return tiny_learner([ClipGradients(*args, **kwargs)], model=model, opt=opt)

    with pytest.raises(
        ValueError, match=r"^max_value=0\.5 cannot cut off the gradients of complex"
    ):
        learner(max_value=0.5).fit(1)
    assert learner(0.5).fit(1).n_steps == 4

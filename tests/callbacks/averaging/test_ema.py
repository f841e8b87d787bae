"""The exponential moving average of the weights."""

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import EMA, EarlyStopping
from lehr.testing import tiny_learner


class Course(Callback):
    """Keeps the weights after each step."""

    state = ()

    def __init__(self):
        self.weights = []

    def after_step(self, run):
        self.weights.append(run.model[0].weight.detach().double().clone())


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_its_closed_form(decay):
    course, ema = Course(), EMA(decay)
    tiny_learner([course, ema]).fit(2)
    n = len(course.weights)
    shares = [decay ** (n - 1 - i) for i in range(n)]
    expected = sum(s * w for s, w in zip(shares, course.weights, strict=True)) / sum(shares)
    found = ema.average.tensors["0.weight"].double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    if decay:  # the control: without the division it would be another
        assert (found - expected * (1 - decay**n)).abs().max() > 1e-3


def test_half_life_says_after_how_many_steps_a_step_counts_half():
    assert EMA(half_life=10).decay ** 10 == pytest.approx(0.5)


class Seen(Callback):
    """Keeps the first weight as each validation saw it."""

    state = ()

    def __init__(self):
        self.validated, self.trained = [], []

    def begin_validate(self, run):
        self.validated.append(run.model[0].weight.detach().clone())

    def after_epoch(self, run):
        self.trained.append(run.model[0].weight.detach().clone())


def test_validation_has_the_average_and_training_its_own_weights():
    seen, plain, ema = Seen(), Seen(), EMA(0.9, keep=False)
    run = tiny_learner([ema, seen]).fit(3)
    tiny_learner([plain]).fit(3)
    for ours, theirs in zip(seen.trained, plain.trained, strict=True):
        assert torch.equal(ours, theirs)  # training is as without
    for ours, theirs in zip(seen.validated, plain.validated, strict=True):
        assert not torch.equal(ours, theirs)
    assert torch.equal(seen.validated[-1], ema.average.tensors["0.weight"])
    assert torch.equal(run.model[0].weight, plain.trained[-1])


def test_after_the_fit_the_model_is_what_was_measured():
    learn = tiny_learner([EMA(0.9)])
    run = learn.fit(2)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    other = tiny_learner([EMA(0.9, keep=False)])
    run = other.fit(2)
    assert other.validate()["valid_loss"] != run.history["valid_loss"][-1]


def test_what_is_restored_as_best_is_what_was_measured():
    stop = EarlyStopping("valid_loss", patience=1, restore_best=True)
    learn = tiny_learner([EMA(0.9), stop], opt=lambda ps: torch.optim.SGD(ps, lr=8.0))
    run = learn.fit(8)
    best = min(run.history["valid_loss"])
    assert run.stop_reason is not None
    assert best != run.history["valid_loss"][-1]
    assert learn.validate()["valid_loss"] == best


def test_an_error_in_the_validation_gives_the_model_its_own_weights_back():
    class Break(Callback):
        state = ()

        def begin_batch(self, run):
            if not run.training:
                raise ZeroDivisionError

    seen = Seen()
    learn = tiny_learner([EMA(0.9), Break(), seen])
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    plain = tiny_learner()
    plain.fit(1)
    assert torch.equal(learn.model[0].weight, plain.model[0].weight)
    assert not torch.equal(seen.validated[0], plain.model[0].weight)


def test_statistics_of_batchnorm_are_averaged_and_counts_are_not():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    ema = EMA(0.9, keep=False)
    run = tiny_learner([ema], model=model).fit(1)
    norm = run.model[1]
    assert not torch.equal(ema.average.tensors["1.running_mean"], norm.running_mean)
    assert ema.average.tensors["1.num_batches_tracked"] == norm.num_batches_tracked == 4


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"decay": 1.0}, ValueError, "decay must be at least 0 and below 1; got 1.0"),
        ({"decay": "0.9"}, TypeError, "decay must be a real number; got '0.9'"),
        ({"half_life": 0}, ValueError, "half_life must be above 0; got 0"),
        ({"decay": 0.9, "half_life": 5}, ValueError, "EMA takes decay or half_life; got decay=0.9"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        EMA(**arguments)


def test_its_repr_says_how_it_was_made():
    assert repr(EMA()) == "EMA(0.999)"
    assert repr(EMA(0.9, keep=False)) == "EMA(0.9, keep=False)"

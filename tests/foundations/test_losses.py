"""Rung 1: losses and accuracy are torch's, also where naive arithmetic is not."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr.foundations.losses import (
    accuracy,
    binary_cross_entropy,
    cross_entropy,
    log_softmax,
    log_softmax_naive,
    log_softmax_sum,
    logsumexp,
    nll,
    nll_of_probs,
    softmax,
)

PROBS = torch.tensor([[0.01, 0.98, 0.01], [0.001, 0.001, 0.998]])
TARGETS = torch.tensor([1, 2])


def scores(seed: int, shape: list[int], magnitude: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64)) * magnitude


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)
magnitudes = st.sampled_from([0.0, 1e-3, 1.0, 100.0, 1e4])
seeds = st.integers(0, 1000)


def value_and_grad(function, x, *args, **kwargs):
    x = x.clone().requires_grad_()
    value = function(x, *args, **kwargs)
    weights = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view_as(value)
    return value.detach(), torch.autograd.grad((value * weights).sum(), x)[0]


def same(a, b) -> bool:
    return all(torch.allclose(p, q, rtol=1e-6, atol=1e-9) for p, q in zip(a, b, strict=True))


@settings(max_examples=60, deadline=None)
@given(seeds, shapes, magnitudes, st.data())
def test_softmax_logsumexp_and_log_softmax_equal_torch(seed, shape, magnitude, draw):
    x = scores(seed, shape, magnitude)
    dim = draw.draw(st.integers(-len(shape), len(shape) - 1))
    keepdim = draw.draw(st.booleans())
    assert same(value_and_grad(softmax, x, dim), value_and_grad(torch.softmax, x, dim))
    assert same(value_and_grad(log_softmax, x, dim), value_and_grad(torch.log_softmax, x, dim))
    ours = value_and_grad(logsumexp, x, dim, keepdim=keepdim)
    assert ours[0].shape == x.logsumexp(dim, keepdim=keepdim).shape
    assert same(ours, value_and_grad(torch.logsumexp, x, dim, keepdim=keepdim))


def test_negative_control_another_dim_is_not_equal():
    x = scores(0, [3, 3], 1.0)
    assert not same(value_and_grad(softmax, x, 0), value_and_grad(torch.softmax, x, 1))
    assert not same(value_and_grad(logsumexp, x, 0), value_and_grad(torch.logsumexp, x, 1))


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(1, 5), magnitudes)
def test_cross_entropy_equals_torch_in_values_and_gradients(seed, n, classes, magnitude):
    x = scores(seed, [n, classes], magnitude)
    y = torch.arange(n) % classes
    expected = value_and_grad(F.cross_entropy, x, y)
    assert same(value_and_grad(cross_entropy, x, y), expected)
    assert cross_entropy(x, y) >= 0
    if classes > 1 and magnitude == 1:  # the same loss of shifted targets is another number
        assert not same(value_and_grad(cross_entropy, x, (y + 1) % classes), expected)


@given(st.lists(st.tuples(st.floats(1e-4, 0.9999), st.floats(0, 1)), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_binary_cross_entropy_equals_torch(pairs):
    p, y = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    expected = value_and_grad(F.binary_cross_entropy, p, y)
    assert same(value_and_grad(binary_cross_entropy, p, y), expected)


@pytest.mark.parametrize("extreme", [-math.inf, math.inf, math.nan])
def test_infinite_scores_give_what_torch_gives(extreme):
    x = torch.tensor([[0.0, extreme, 1.0], [extreme, extreme, extreme]])
    pairs = [(logsumexp, torch.logsumexp)]
    if extreme != math.inf:  # a share of infinity is undefined; torch makes the whole row nan
        pairs += [(softmax, torch.softmax), (log_softmax, torch.log_softmax)]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours(x, 1), theirs(x, 1), equal_nan=True)


def test_softmax_is_a_share_and_ignores_a_common_shift():
    """Softmax is positive, sums to 1 in every row, and is unchanged by adding a constant."""
    x = scores(0, [20, 10], 3.0)
    assert (softmax(x) > 0).all()
    torch.testing.assert_close(softmax(x).sum(1), torch.ones(20, dtype=x.dtype))
    torch.testing.assert_close(softmax(x + 5), softmax(x))
    assert not torch.allclose(softmax(x * 5), softmax(x))  # scaling is no shift


def test_cross_entropy_of_equal_scores_is_the_log_of_the_number_of_classes():
    """Cross entropy is never negative, and ln 10 = 2.302585 when 10 classes have equal scores."""
    y = torch.arange(8)
    assert cross_entropy(torch.zeros(8, 10), y).item() == pytest.approx(2.302585, abs=1e-6)
    assert cross_entropy(scores(1, [8, 10], 5.0), y) >= 0
    without_minus = -cross_entropy(torch.zeros(8, 10), y)
    assert without_minus.item() == pytest.approx(-2.302585, abs=1e-6)


def test_the_target_picks_one_term_of_the_binary_loss():
    """With p = 0.9 the binary loss is 0.105361 where y is 1, and 2.302585 where y is 0."""
    p = torch.tensor([0.9], dtype=torch.float64)
    assert binary_cross_entropy(p, torch.ones(1)).item() == pytest.approx(0.105361, abs=1e-6)
    assert binary_cross_entropy(p, torch.zeros(1)).item() == pytest.approx(2.302585, abs=1e-6)


def test_a_certain_prediction_keeps_loss_and_gradient_finite():
    """Probabilities of exactly 0 and 1 give a finite binary loss and a finite gradient."""
    p = torch.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    y = torch.tensor([0.0, 1.0, 1.0, 0.0])
    loss = binary_cross_entropy(p, y)
    loss.backward()
    assert loss.isfinite()
    assert p.grad.isfinite().all()
    formula = -(y * p.log() + (1 - y) * (1 - p).log())
    assert not formula.isfinite().all()


def test_picking_the_target_equals_the_one_hot_sum():
    """Picking each row's target gives the mean of the one-hot products, to 1e-6."""
    x, y = scores(2, [50, 10], 2.0), torch.arange(50) % 10
    log_probs = log_softmax(x)
    one_hot = -(F.one_hot(y, 10) * log_probs).sum(1).mean()
    torch.testing.assert_close(nll(log_probs, y), one_hot, rtol=0, atol=1e-6)
    assert not torch.allclose(nll(log_probs, (y + 1) % 10), one_hot)


def test_no_tensor_of_the_size_of_the_scores_is_made():
    """The negative log likelihood of n rows and c classes makes tensors of n numbers only."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                Largest.size = max(Largest.size, out.numel())
            return out

    x, y = torch.rand(200, 30), torch.zeros(200, dtype=torch.long)
    for loss, values in ((nll, x.log()), (nll_of_probs, x)):
        Largest.size = 0
        with Largest():
            loss(values, y)
        assert Largest.size == 200
    with Largest():
        (F.one_hot(y, 30) * x).sum()
    assert Largest.size == 6000


def test_the_two_conventions_of_nll_are_kept_apart():
    """`nll` takes log-probabilities as torch's does; `nll_of_probs` takes the log itself."""
    torch.testing.assert_close(nll(PROBS.log(), TARGETS), nll_of_probs(PROBS, TARGETS))
    torch.testing.assert_close(nll(PROBS.log(), TARGETS), F.nll_loss(PROBS.log(), TARGETS))
    assert F.nll_loss(PROBS, TARGETS) < 0  # torch's takes whatever it is given


@pytest.mark.parametrize(("values", "largest"), [(PROBS, "0.998"), (PROBS.logit(), "6.213")])
def test_probabilities_and_scores_are_refused_where_their_logs_belong(values, largest):
    """Any value above 0 is no log of a probability; the message names what takes it."""
    with pytest.raises(ValueError, match=f"log_probs must be at most 0; got {largest}") as e:
        nll(values, TARGETS)
    assert "nll_of_probs of probabilities, cross_entropy of scores" in str(e.value)
    certain = torch.tensor([[-math.inf, 0.0]])
    assert nll(certain, torch.tensor([1])) == 0


@given(seeds, st.integers(1, 6), st.sampled_from([1.0, 30.0, 3e38]))
@settings(max_examples=40, deadline=None)
def test_no_log_softmax_is_refused(seed, classes, magnitude):
    """Rounding never lifts a `log_softmax` above 0, of any scores in single precision."""
    x = scores(seed, [8, classes], 1.0).clamp(-1, 1).float() * magnitude
    assert log_softmax(x, 1).max() <= 0


def test_the_worked_example_has_a_positive_mean():
    """The mean of 0.020203 and 0.002002 is 0.0111024; without the minus it would be below 0."""
    loss = nll_of_probs(PROBS, TARGETS)
    assert loss.item() == pytest.approx(0.0111024, abs=1e-6)
    each = -PROBS.log()
    expected = torch.tensor([[4.6052, 0.020203, 4.6052], [6.9078, 6.9078, 0.002002]])
    torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-6)
    assert PROBS[[0, 1], TARGETS].log().mean().item() == pytest.approx(-0.0111024, abs=1e-6)


def test_the_plain_exponential_overflows_and_the_stable_form_does_not():
    """In float32 log Σ exp([88.8, 0]) is infinite, and log softmax([0, 200]) loses its first entry;
    the stable forms give 88.8 and -200.
    """
    assert torch.tensor([88.8, 0.0]).exp().sum().log() == math.inf
    assert logsumexp(torch.tensor([88.8, 0.0])).item() == pytest.approx(88.8, abs=1e-5)
    x = torch.tensor([0.0, 200.0])
    assert log_softmax_naive(x)[0] == -math.inf
    assert log_softmax(x).tolist() == [-200.0, 0.0]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1000.0, 1000.0], 1000.6931),
        ([-1000.0, -1000.0], -999.3069),
        ([1.0, 2.0, 3.0], 3.4076059),
        ([0.0, 0.0], 0.6931472),
        ([-math.inf, -math.inf], -math.inf),
    ],
)
def test_logsumexp_is_stable(row, expected):
    """The log-sum-exp of huge, tiny and all-minus-infinite rows is right: ln 2 above 1000, say."""
    x = torch.tensor([row])
    assert logsumexp(x, dim=1).item() == pytest.approx(expected, rel=1e-7)
    m = x.max()
    plain = m + (x - m).exp().sum().log()
    assert plain.isnan().item() is math.isinf(expected)  # only -inf breaks the trick itself


def test_logsumexp_works_along_any_dim_and_its_gradient_is_softmax():
    """The log-sum-exp along any dim, kept or not, has softmax along that dim as its gradient."""
    x = scores(3, [2, 3, 4], 10.0).requires_grad_()
    for dim in (0, 1, 2, -1):
        assert logsumexp(x, dim, keepdim=True).shape == x.sum(dim, keepdim=True).shape
        grad = torch.autograd.grad(logsumexp(x, dim).sum(), x)[0]
        torch.testing.assert_close(grad, x.softmax(dim))
        assert not torch.allclose(grad, x.softmax((dim + 1) % 3))


def test_logsumexp_equals_the_method_of_tensors():
    """Our log-sum-exp equals ``x.logsumexp(dim)`` to 1e-6."""
    x = scores(4, [64, 10], 5.0)
    torch.testing.assert_close(logsumexp(x, 1), x.logsumexp(1), rtol=0, atol=1e-6)
    assert not torch.allclose(x.exp().sum(1), x.logsumexp(1))


def test_three_ways_to_log_softmax_agree_until_numbers_are_large():
    """Three ways to a log of softmax agree on small scores; on [0, 200] and [88.8, 0] only the one
    through log-sum-exp stays finite.
    """
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    for way in (log_softmax_naive, log_softmax_sum, log_softmax):
        torch.testing.assert_close(way(x), F.log_softmax(x, -1))
    large = torch.tensor([0.0, 200.0])
    assert log_softmax(large).isfinite().all()
    assert not log_softmax_naive(large).isfinite().all()
    assert not log_softmax_sum(large).isfinite().all()
    assert log_softmax(torch.tensor([88.8, 0.0])).isfinite().all()
    assert not log_softmax_sum(torch.tensor([88.8, 0.0])).isfinite().all()


def test_nll_after_log_softmax_is_cross_entropy():
    """`nll` of `log_softmax` is cross entropy, ours and torch's, with classes along dim 1."""
    x, y = scores(5, [64, 10], 4.0), torch.arange(64) % 10
    two_steps = nll(log_softmax(x, dim=1), y)
    torch.testing.assert_close(two_steps, cross_entropy(x, y), rtol=0, atol=0)
    torch.testing.assert_close(two_steps, F.cross_entropy(x, y), rtol=0, atol=1e-6)
    assert not torch.allclose(nll(log_softmax(x, dim=0), y), F.cross_entropy(x, y))


def test_an_untrained_network_starts_near_the_log_of_ten():
    """The loss of an untrained 784-50-10 network over 50,000 inputs is near ln 10 = 2.30."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(784, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
    x, y = torch.rand(50_000, 784), torch.arange(50_000) % 10
    with torch.no_grad():
        assert cross_entropy(model(x), y).item() == pytest.approx(2.30, abs=0.05)
        assert cross_entropy(model(x) * 30, y).item() > 2.5  # an untrained net of another scale


def test_accuracy_is_a_float_and_ties_go_to_the_first():
    """Three right of four give 0.75 as a float, and of equal scores the first index counts."""
    pred = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    share = accuracy(pred, torch.tensor([0, 1, 0, 1]))
    assert share.item() == 0.75
    assert share.dtype == torch.float32
    assert accuracy(pred[2:3], torch.tensor([1])).item() == 0
    with pytest.raises(RuntimeError):  # what the conversion to float is for
        (pred.argmax(1) == torch.tensor([0, 1, 0, 1])).mean()


def test_accuracy_refuses_an_empty_batch_and_targets_of_another_shape():
    """An empty batch has no accuracy, and targets of shape (n, 1) are refused, not broadcast."""
    with pytest.raises(ValueError, match="pred must hold at least one row"):
        accuracy(torch.zeros(0, 10), torch.zeros(0, dtype=torch.long))
    pred, column = torch.eye(3), torch.arange(3)[:, None]
    with pytest.raises(ValueError, match=r"yb must have shape \(3,\).*got \(3, 1\)"):
        accuracy(pred, column)
    assert (pred.argmax(1) == column).float().mean() < accuracy(pred, column[:, 0])

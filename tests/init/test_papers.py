"""What the papers on initialisation claim, at small scale, each beside what does not hold."""

import importlib.util
import math
import statistics
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr import init
from tests.tier import NIGHTLY

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


papers = example("papers")
SQRT2 = math.sqrt(2)


def median(experiment, seeds=5):
    return statistics.median(papers.over_seeds(experiment, seeds))


def test_selu_has_a_fixed_point_that_attracts():
    """Mean 0 and variance 1 stay so behind a SELU layer, and what is near comes nearer."""
    image = papers.selu_map(0, 1)
    assert abs(image.mean) < 1e-10
    assert abs(image.var - 1) < 1e-10
    assert abs(papers.selu_map(0, 1, weight_squares=2).var - 1) > 0.5
    slopes = papers.selu_slopes()
    assert slopes == pytest.approx((0.08883, 0.78265), abs=1e-4)
    assert math.hypot(*slopes) == pytest.approx(0.7877, abs=1e-3)


def test_selu_maps_its_domain_into_itself():
    """The paper's three theorems hold on a grid: the domain, large variances, small variances."""
    means, variances = papers.selu_image()
    assert -0.1 < means[0] < means[1] < 0.1
    assert 0.8 < variances[0] < variances[1] < 1.5
    assert papers.selu_changes((-1, 1), (3, 16), (0.8, 1.25))[1] <= -0.119
    assert papers.selu_changes((-0.1, 0.1), (0.02, 0.16), (0.8, 1.25))[0] >= 0.0077
    assert papers.selu_changes((-0.1, 0.1), (0.02, 0.24), (0.9, 1.25))[0] >= 0.0077


@pytest.mark.parametrize(
    ("var", "after"), [(16, 1.26), (5, 1.14), (2, 1.06), (0.5, 0.94), (0.1, 0.78)]
)
def test_selu_recovers_from_any_variance(var, after):
    """Ten SELU layers bring a wrong variance most of the way back to 1, thirty all of it."""
    assert papers.selu_recovery(var, 10) == pytest.approx(after, abs=0.01)
    assert papers.selu_recovery(var, 30) == pytest.approx(1, abs=2e-3)
    assert papers.selu_recovery(var, 1) != pytest.approx(1, abs=2e-3)


@pytest.mark.slow
def test_a_hundred_selu_layers_keep_mean_and_variance():
    """Through 100 layers SELU stays at mean 0 and variance 1; rectifiers, tanh and 2/n do not."""
    last = papers.over_seeds(lambda: papers.through_layers()[-1])
    assert statistics.median(layer.var for layer in last) == pytest.approx(1, abs=0.1)
    assert statistics.median(layer.mean for layer in last) == pytest.approx(0, abs=0.05)
    shifted = median(lambda: papers.through_layers(mean=0.5, std=2)[-1].var, 3)
    assert shifted == pytest.approx(1, abs=0.15)
    assert median(lambda: papers.through_layers(nn.ReLU)[-1].var, 1) < 1e-25
    assert median(lambda: papers.through_layers(nn.Tanh)[-1].var, 1) < 0.05
    assert median(lambda: papers.through_layers(nn.SELU, SQRT2)[-1].var, 3) > 1e4


@pytest.mark.slow
def test_plain_dropout_breaks_selu_and_alpha_dropout_does_not():
    """With dropout 0.1 the variance settles far above 1; alpha dropout keeps it."""
    plain = median(lambda: papers.with_dropout(partial(nn.Dropout, 0.1))[-1].var)
    alpha = median(lambda: papers.with_dropout(partial(nn.AlphaDropout, 0.1))[-1].var)
    assert 1.4 < plain < 1.9
    assert alpha == pytest.approx(1, abs=0.1)


def test_orthogonal_weights_are_an_isometry_at_any_depth():
    """All singular values of 100 orthogonal layers are 1; of Gaussian ones most are nothing."""
    for depth in (1, 10, 100):
        off = papers.over_seeds(
            lambda d=depth: (papers.singular_values("orthogonal", d) - 1).abs().max().item()
        )
        assert max(off) < 1e-12
    shares = [
        median(lambda d=d: papers.below_one_percent(papers.singular_values("lecun", d)))
        for d in (1, 5, 20, 100)
    ]
    assert shares == pytest.approx([0.02, 0.30, 0.72, 0.93], abs=0.07)


def test_orthogonal_weights_keep_the_gradient():
    """A gradient keeps its norm on its way back through orthogonal layers, not Gaussian ones."""
    assert papers.over_seeds(lambda: papers.backward_norm("orthogonal", 100)) == pytest.approx(
        [1] * 5, abs=1e-12
    )
    gaussian = papers.over_seeds(lambda: papers.backward_norm("lecun", 100))
    assert max(abs(norm - 1) for norm in gaussian) > 0.1


@pytest.mark.slow
def test_learning_time_does_not_grow_with_depth():
    """Orthogonal linear nets of 2 to 50 layers learn in tens of steps; Gaussian ones do not."""
    times = [median(lambda d=d: papers.steps_to_learn("orthogonal", d), 3) for d in (2, 10, 50)]
    assert max(times) <= 120
    assert papers.over_seeds(lambda: papers.steps_to_learn("lecun", 50), 1) == [400]


def test_strong_modes_are_learnt_first():
    """From a small start the singular modes are learnt in the order of their strength."""
    times = papers.over_seeds(lambda: papers.half_times(papers.modes((4.0, 2.0, 1.0))), 3)
    assert all(a < b < c for a, b, c in times)
    assert 2.5 < median(lambda: papers.half_time_ratio((4.0, 1.0)), 3) < 6


def test_lsuv_needs_one_pass_and_any_start_does():
    """LSUV brings each of 20 layers to unit variance in one pass, from weights of 0.01 as well."""
    for start in (None, 0.01):
        layers = papers.over_seeds(lambda s=start: papers.unit_variance(std=s), 3)
        assert all(layer.passes <= 1 and layer.converged for net in layers for layer in net)
        assert all(abs(layer.std - 1) < 0.05 for net in layers for layer in net)
    fresh = papers.over_seeds(lambda: papers.unit_variance(tol=5e-4, fresh=True), 2)
    assert all(any(not layer.converged for layer in net) for net in fresh)


def test_variance_behind_tanh_cannot_become_one():
    """Measured behind a tanh the variance stays below 1, however often the weights are scaled."""
    layer = papers.behind_tanh()[-1]
    assert not layer.converged
    assert layer.std < 0.97


def test_each_gain_has_the_factor_that_its_formula_says():
    """With Kaiming's gain a rectified layer keeps the second moment; Xavier's halves it."""
    gains = {SQRT2: 1, 1: 1 / 2, papers.SQRT5_GAIN: 1 / 6}
    for gain, ratio in gains.items():
        measured = median(lambda g=gain: papers.second_moment_ratio(0, g))
        assert measured == pytest.approx(ratio, rel=0.05)
    leaky = median(lambda: papers.second_moment_ratio(0.25, math.sqrt(2 / (1 + 0.25**2))))
    assert leaky == pytest.approx(1, rel=0.05)


@pytest.mark.slow
def test_at_thirty_layers_only_kaiming_trains():
    """Thirty rectified layers learn from Kaiming's start; from Xavier's or √5 they stay."""
    start, seeds = math.log(10), 3 if NIGHTLY else 1
    kaiming = median(lambda: papers.plain_training(30, SQRT2)[-1], seeds)
    assert kaiming < start - 0.3
    for gain in (1.0, papers.SQRT5_GAIN):
        stuck = median(lambda g=gain: papers.plain_training(30, g)[-1], seeds)
        assert stuck == pytest.approx(start, abs=0.03)
    assert median(lambda: papers.plain_training(10, SQRT2)[-1], seeds) < 0.1
    norms = [median(lambda g=g: papers.first_gradient(30, g), 3) for g in (SQRT2, 1.0)]
    assert norms[0] > 1e3 * norms[1]


@pytest.mark.slow
def test_a_fixed_deviation_loses_the_gradient():
    """Weights of 0.01 in ten convolutions lose the gradient ten-thousandfold; Kaiming's keep it."""
    assert 3e3 < median(lambda: papers.fixed_std_loss(0.01), 3) < 1e5
    assert 0.1 < median(lambda: papers.fixed_std_loss(None), 3) < 10


@pytest.mark.slow
def test_fixup_learns_alike_at_every_depth():
    """With Fixup the loss after five steps is the same for 10, 100 and 1000 residual blocks."""
    ten, hundred, thousand = (
        papers.over_seeds(lambda b=b: papers.residual_training(b, "fixup", 5)[-1], seeds)
        for b, seeds in ((10, 3), (100, 3), (1000, 1))
    )
    assert hundred == pytest.approx(ten, rel=0.02)
    assert thousand == pytest.approx(ten[:1], rel=0.02)
    assert max(ten) < 2.0
    assert median(lambda: papers.growth(10)[-1], 3) > 1e3
    assert not math.isfinite(papers.over_seeds(lambda: papers.growth(100)[-1], 1)[0])


@pytest.mark.slow
def test_zeroing_alone_is_not_enough():
    """Zero last layers without the smaller rest train 10 blocks, and diverge at 50."""
    assert median(lambda: papers.residual_training(10, "zero last")[-1], 3) < 1
    deep = papers.over_seeds(lambda: papers.residual_training(50, "zero last")[-1], 3)
    assert not any(math.isfinite(loss) and loss < 2.0 for loss in deep)


@pytest.mark.slow
@pytest.mark.large
def test_ten_thousand_layers_train_without_normalisation():
    """5,000 residual branches of two layers learn from Fixup's start, step by step as ten do."""
    deep, shallow = (
        papers.over_seeds(lambda b=blocks: papers.residual_training(b, "fixup", 3), 1)[0]
        for blocks in (5000, 10)
    )
    assert deep[0] == pytest.approx(math.log(10), abs=1e-4)
    assert deep[-1] < 1.6
    assert deep == pytest.approx(shallow, rel=1e-3)


def test_of_three_remedies_for_repeated_products_only_orthogonal_keeps_the_norm():
    """Through a hundred products orthogonal weights keep the norm. Normal weights of the same
    variance do not, and spectral normalisation only bounds it."""

    def weights(fill):
        return fill(torch.empty(512, 512, dtype=torch.float64))

    def matched(weight):
        return nn.init.normal_(weight, std=1 / math.sqrt(512))

    def after_products(matrix):
        x = y = torch.randn(512, dtype=torch.float64)
        for _ in range(100):
            y = matrix @ y
        return (y.norm() / x.norm()).item()

    def keeps_the_norm(fill):
        ratios = papers.over_seeds(lambda: after_products(weights(fill)), 3)
        return ratios == pytest.approx([1] * 3, abs=1e-12)

    assert keeps_the_norm(init.orthogonal_)
    assert not keeps_the_norm(matched)
    deviations = [weights(fill).std().item() for fill in (init.orthogonal_, matched)]
    assert deviations == pytest.approx([1 / math.sqrt(512)] * 2, rel=0.01)

    gaussian = weights(nn.init.normal_)
    largest = torch.linalg.matrix_norm(gaussian, 2)
    assert largest.item() == pytest.approx(2 * math.sqrt(512), rel=0.05)
    assert after_products(gaussian / largest) < 1e-20
    assert 1e-3 < after_products(gaussian / math.sqrt(512)) < 1e3
    assert after_products(gaussian) > 1e100


def test_a_learnt_slope_has_a_gain_of_its_own():
    """The gain follows the slope: √2 without one, 1 for a line; PReLU starts between."""
    slope = nn.PReLU().weight.item()
    assert slope == 0.25
    assert init.gain(slope) == pytest.approx(math.sqrt(2 / (1 + slope**2)))
    assert 1 < init.gain(slope) < SQRT2
    assert init.gain(1) == 1


def test_taking_the_maximum_out_of_logsumexp_changes_nothing_but_the_overflow():
    """Taking the maximum out before the exponentials changes nothing but the overflow."""
    from lehr.foundations.losses import logsumexp

    x = torch.randn(5, 7, dtype=torch.float64)
    assert torch.allclose(logsumexp(x), x.exp().sum(-1).log(), atol=1e-12)
    shifted = logsumexp(x + 1000)
    assert torch.allclose(shifted, logsumexp(x) + 1000, atol=1e-9)
    assert not (x + 1000).exp().sum(-1).log().isfinite().any()


def test_the_gain_decides_how_much_of_a_signal_a_layer_keeps():
    """A rectified layer keeps a signal's second moment, or 1 part in 18 of it: the gain decides."""
    kept = [median(lambda g=g: papers.second_moment_ratio(0, g), 3) for g in (SQRT2, 1 / 3)]
    assert kept[0] == pytest.approx(1, rel=0.1)
    assert kept[1] == pytest.approx(1 / 18, rel=0.1)

"""The √5 study: the script prints what it says, and its numbers are those of theory."""

import math
import os
import statistics
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr.init import gain, kaiming_normal_

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "examples"), str(ROOT / "bench")]
import initialisation  # noqa: E402
import papers  # noqa: E402
import why_sqrt5  # noqa: E402

N = why_sqrt5.N
ALL, ACROSS = 0, 1


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def products():
    """Table 3, one draw: row by quantity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {row.quantity: row for row in why_sqrt5.products(1)}


@pytest.fixture(scope="module")
def images():
    return why_sqrt5.images()


def stds_by_layer(which, seeds=3, depth=10, **options):
    """Median over seeds of the std in each layer of a stack."""
    draws = []
    for _ in range(seeds):
        stds = why_sqrt5.signal(why_sqrt5.stack(depth, **options), torch.randn(N, N))
        draws.append([both[which] for both in stds])
    return torch.tensor(draws).median(0).values.tolist()


@pytest.mark.slow
def test_the_study_is_one_script_that_prints_every_table(capsys):
    """One script prints what was published, what theory says and what it measures, side by side."""
    tables = why_sqrt5.main(draws=2)
    printed = capsys.readouterr().out
    assert [title[:2] for title in tables] == ["T1", "T2", "T3", "T4"]
    for title, rows in tables.items():
        assert title in printed
        assert all(row.quantity in printed for row in rows)
        assert all(math.isfinite(draw) for row in rows for draw in row.draws)
    for published in ("0.5978", "0.0065", "0.4043", "28, 28, 27"):
        assert published in printed


def test_the_study_needs_no_download(monkeypatch):
    """Without the MNIST files the study runs on the digits that come with the package."""
    monkeypatch.delenv("LEHR_DATA", raising=False)
    x, y, source = why_sqrt5.images()
    assert x.shape == (100, 1, 28, 28)
    assert y.shape == (100,)
    assert "digits" in source


@pytest.mark.slow
def test_signal_shrinks_as_theory_says_under_the_default():
    """Default weights, no bias: the std by layer is 1/√3 and then falls by √6 each ReLU layer."""
    expected = [3**-0.5 * 6 ** (-i / 2) for i in range(10)]
    assert [both[ALL] for both in why_sqrt5.expected_signal(10)] == pytest.approx(expected)
    assert stds_by_layer(ALL) == pytest.approx(expected, rel=0.15)
    kaiming = stds_by_layer(ALL, a=0.0)
    assert kaiming[-1] > 1000 * expected[-1]


@pytest.mark.slow
def test_signal_shrinks_without_an_activation_too():
    """Default weights, no activation: every layer takes a factor of √3 from the std."""
    expected = [3 ** (-i / 2) for i in range(1, 11)]
    measured = stds_by_layer(ALL, linear=True)
    assert measured == pytest.approx(expected, rel=0.15)
    assert stds_by_layer(ALL)[-1] < 0.1 * expected[-1]


@pytest.mark.slow
def test_the_default_bias_hides_the_loss():
    """With the default bias the overall std stops at √(0.4/n); only across samples it is seen to
    vanish."""
    expected = why_sqrt5.expected_signal(10, bias=True)
    overall, across = (stds_by_layer(which, bias=True) for which in (ALL, ACROSS))
    assert overall == pytest.approx([both[ALL] for both in expected], rel=0.15)
    assert across == pytest.approx([both[ACROSS] for both in expected], rel=0.15)
    assert overall[-1] == pytest.approx(math.sqrt(0.4 / N), rel=0.1)
    assert overall[-1] > 100 * across[-1]


@pytest.mark.slow
def test_kaiming_keeps_the_signal_through_thirty_layers():
    """With Kaiming's gain the std before the ReLU stays near √2 in all of 30 layers."""
    kaiming = stds_by_layer(ALL, seeds=5, depth=30, a=0.0)
    assert all(1.1 < std < 1.8 for std in kaiming)
    assert not all(1.1 < std < 1.8 for std in stds_by_layer(ALL, seeds=1, depth=30))


def test_kaiming_gives_the_exact_moments_behind_the_first_relu():
    """On independent inputs a Kaiming layer and ReLU give mean 1/√π and std √(1 − 1/π)."""
    x = torch.randn(500, N)
    mean, std = math.sqrt(1 / math.pi), math.sqrt(1 - 1 / math.pi)
    moments = {}
    for a in (0.0, math.sqrt(5)):
        out = (x @ kaiming_normal_(torch.empty(N, N), a).T).relu()
        moments[a] = out.mean().item(), out.std().item()
    assert moments[0.0] == pytest.approx((mean, std), rel=0.02)
    assert moments[math.sqrt(5)] != pytest.approx((mean, std), rel=0.5)


@pytest.mark.slow
def test_gradients_of_every_layer_are_reported(images):
    """On the four-convolution net, Kaiming raises the output's std about 30 to 60 times and the
    first layer's gradient about ten times over the default."""
    rows = why_sqrt5.whole_net(*images[:2], draws=20)
    default, kaiming = (
        {r.quantity.split(",")[0]: r.median for r in half} for half in (rows[:10], rows[10:])
    )
    assert [f"gradient of convolution {i} std" in default for i in (1, 2, 3, 4)] == [True] * 4
    assert 15 < kaiming["output std"] / default["output std"] < 100
    assert (
        5 < kaiming["gradient of convolution 1 std"] / default["gradient of convolution 1 std"] < 30
    )
    assert default["output std"] < 0.02 < 0.1 < kaiming["output std"]


def test_products_with_normal_matrices_explode_and_with_small_ones_vanish(products):
    """A 512-vector times N(0, 1) matrices stops being finite after 28 or so products; times 0.01 of
    them it is exactly zero after about 70."""
    (explodes,), (vanishes,) = (list(products.values())[i].draws for i in (0, 1))
    assert 27 <= explodes <= 29
    assert 68 <= vanishes <= 71
    assert math.isfinite(products["1/√512, the same matrix 100 times: std"].draws[0])


def test_a_sum_of_squares_overflows_long_before_the_vector():
    """A std summed in float32 is lost at step 13 or so, when the vector itself is still finite."""
    a, x, step = torch.randn(N, N), torch.randn(N), 0
    while x.square().sum().isfinite():
        x, step = a @ x, step + 1
    assert x.isfinite().all()
    assert 12 <= step <= 15


@pytest.mark.slow
def test_one_scale_does_not_tame_one_matrix():
    """A hundred products scaled by 1/√512 stay within a factor of 3 with fresh matrices, not with
    the same one."""

    def stds(make):
        return [why_sqrt5.chain(make(), lambda x: False)[1].std().item() for _ in range(12)]

    def same():
        a = torch.randn(N, N) / math.sqrt(N)
        return lambda: a

    assert all(0.3 < std < 3 for std in stds(lambda: lambda: torch.randn(N, N) / math.sqrt(N)))
    assert not all(0.3 < std < 3 for std in stds(same))


def test_relu_changes_the_scale_to_sqrt_2_over_n(products):
    """Averages behind a ReLU: 1/π and 1/2 for a product of two numbers, 9.027 and 256 for a row of
    512, and mean square 1 once the matrix is scaled by √(2/512)."""
    for row in products.values():
        if row.quantity.startswith("relu(A x"):
            assert row.median == pytest.approx(row.theory, rel=0.02)
    pairs = torch.randn(10**6) * torch.randn(10**6)
    assert pairs.relu().mean().item() == pytest.approx(1 / math.pi, rel=0.01)
    assert pairs.relu().square().mean().item() == pytest.approx(0.5, rel=0.02)
    without_relu = products["A x, mean square"].median
    assert without_relu != pytest.approx(256, rel=0.5)


def test_the_benchmark_compares_two_layouts_of_one_layer(capsys):
    """A weight stored (50, 784) and one stored (784, 50) give the same output to 1e-6; the ratio of
    their times is measured, not assumed."""
    x, w = torch.randn(64, 784) / 28, torch.randn(50, 784)
    torch.testing.assert_close(x @ w.T, x @ w.T.contiguous(), atol=1e-6, rtol=1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(x @ w.T, x @ w.reshape(784, 50), atol=1e-6, rtol=1e-6)
    rows = initialisation.layouts(repeats=3)  # quartiles of two would lie outside of them
    assert list(rows) == ["64 items", "1024 items"]
    assert capsys.readouterr().out.count("× the time of x W") == 2
    for row in rows.values():
        assert 0 < row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]


@pytest.mark.slow
def test_how_tanh_and_relu_stacks_keep_or_lose_the_signal():
    """Through 100 tanh layers U(±1/√n) loses the signal and Xavier leaves a std near 0.07; through
    ReLU layers Xavier loses it and Kaiming does not."""

    def last_std(activation, gain_):
        return math.sqrt(papers.through_layers(activation, gain_)[-1].var)

    assert 0.04 < last_std(nn.Tanh, 1) < 0.1
    assert last_std(nn.Tanh, gain(math.sqrt(5))) < 1e-20
    assert last_std(nn.ReLU, 1) < 1e-13
    assert last_std(nn.ReLU, gain(0)) > 0.02


@pytest.mark.slow
@pytest.mark.skipif("LEHR_DATA" not in os.environ, reason="needs the MNIST files")
def test_published_draws_of_one_layer_and_four_are_like_ours(images):
    """Each published number of the first layer and of the four-convolution net lies within three
    standard deviations of 50 draws."""
    rows = why_sqrt5.first_layer(images[0], 50) + why_sqrt5.whole_net(*images[:2], 50)
    known = [row for row in rows if row.published != "–"]
    assert len(known) == 20

    def is_like(published, draws):
        mean, std = statistics.mean(draws), statistics.stdev(draws)
        return abs(float(published.replace("−", "-")) - mean) < 3 * std

    for row in known:
        assert is_like(row.published, row.draws), row.quantity
    default, kaiming = (
        next(row for row in rows if row.quantity == f"output std, {name}")
        for name in ("default √5", "Kaiming")
    )
    assert not is_like(kaiming.published, default.draws)
    assert not is_like(default.published, kaiming.draws)


def test_averages_of_products_agree_with_theory(products):
    """Averages of 100 products lie within a few standard errors of their exact values."""
    rows = [row for row in products.values() if row.theory is not None and "x" in row.quantity]
    for row in rows[2:]:
        assert row.median == pytest.approx(row.theory, rel=0.1, abs=0.2), row.quantity

import math

import pytest
import torch
import torch.nn.functional as F

from lehr.init import ALPHA, SCALE, expectation, moments_after


def normal_cdf(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


@pytest.mark.parametrize("power", range(0, 13, 2))
def test_powers_of_a_gaussian(power):
    exact = math.prod(range(1, power, 2))
    assert expectation(lambda x: x**power) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("mean", "var"), [(0, 1), (0.3, 0.02), (-2, 16), (5, 0.1), (100, 1e-6)])
def test_relu_in_closed_form(mean, var):
    std = math.sqrt(var)
    density = math.exp(-(mean**2) / (2 * var)) / math.sqrt(2 * math.pi)
    exact = mean * normal_cdf(mean / std) + std * density
    assert expectation(torch.relu, mean, var) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("f", [F.relu6, F.hardtanh, F.hardswish])
def test_kinks_at_whole_numbers_cost_no_digits(f):
    grid = torch.linspace(-9, 9, 1_800_001, dtype=torch.float64)
    density = torch.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    brute = torch.trapezoid(f(grid) ** 2 * density, grid).item()
    assert expectation(lambda z: f(z) ** 2) == pytest.approx(brute, abs=1e-9)


def test_functions_that_write_in_place_do_no_harm():
    assert expectation(lambda x: x.relu_()) == expectation(torch.relu)


def selu_moments(mean, var):
    """Mean and second moment of SELU of a Gaussian, by integrating exp and powers by hand."""
    std = math.sqrt(var)
    density = math.exp(-((mean / std) ** 2) / 2) / math.sqrt(2 * math.pi)
    above, below = normal_cdf(mean / std), normal_cdf(-mean / std)
    once = math.exp(mean + var / 2) * normal_cdf(-(mean + var) / std)
    twice = math.exp(2 * mean + 2 * var) * normal_cdf(-(mean + 2 * var) / std)
    first = SCALE * (mean * above + std * density + ALPHA * (once - below))
    second = SCALE**2 * (
        (mean**2 + var) * above + mean * std * density + ALPHA**2 * (twice - 2 * once + below)
    )
    return first, second


@pytest.mark.parametrize(("mean", "var"), [(0, 1), (0.1, 1.5), (-0.1, 0.8), (1, 3), (-1, 0.02)])
def test_selus_map_of_mean_and_variance_has_a_closed_form(mean, var):
    """What SELU does to the mean and variance of a Gaussian input can be written down; numerical
    integration gives the same numbers, which is all that redoing the derivation for a changed
    activation takes."""
    first, second = selu_moments(mean, var)
    moments = moments_after(F.selu, mean, var)
    assert moments == pytest.approx((first, second - first**2), rel=1e-11, abs=1e-13)
    changed = moments_after(lambda x: F.selu(x) + 1e-6, mean, var)
    assert changed.mean != pytest.approx(first, rel=1e-11, abs=1e-13)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"var must be positive; got 0\.0\. Give a variance"):
        expectation(torch.relu, var=0)
    with pytest.raises(TypeError, match=r"mean must be a real number; got 'zero'"):
        moments_after(torch.relu, mean="zero")

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.init import gain, gain_for, gain_of
from lehr.init.gains import NONLINEARITIES


@pytest.mark.parametrize(
    ("a", "expected"),
    [(1, 1.0), (0, 1.414214), (0.01, 1.414143), (0.1, 1.407195), (math.sqrt(5), 0.577350)],
)
def test_the_gain_of_a_leaky_rectifier_follows_from_its_slope(a, expected):
    """The gain is sqrt(2 / (1 + a²)), where a is the slope of the rectifier's output for
    negative inputs: 1.414214 for ReLU, 1.407195 for a leak of 0.1, 1 for no rectifier at all."""
    assert round(gain(a), 6) == expected


@pytest.mark.parametrize("a", [0, 0.01, 0.1, 0.5, 1, 2, -1])
def test_the_gain_undoes_what_the_rectifier_takes(a):
    """Multiplied by its gain, a leaky rectifier of a standard normal number has second moment 1;
    with any other slope's gain it has not."""
    f = lambda z: F.leaky_relu(z, a)  # noqa: E731
    assert gain_for(f) == pytest.approx(gain(a), rel=1e-12)
    assert gain_for(f) != pytest.approx(gain(a + 0.1), rel=1e-3)


@pytest.mark.parametrize(
    "activation", [nn.ReLU(inplace=True), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.SELU()]
)
def test_gains_hold_for_samples(activation):
    torch.manual_seed(0)
    z = torch.randn(1_000_000, dtype=torch.float64)
    mean_square = (gain_for(activation) * activation(z.clone())).square().mean().item()
    assert mean_square == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_gain_by_name(name):
    assert gain_of(name) == pytest.approx(gain_for(NONLINEARITIES[name]), rel=1e-12)


def test_gains_that_torch_has_too():
    for name in ("linear", "relu", "leaky_relu"):
        assert gain_of(name) == pytest.approx(nn.init.calculate_gain(name))
    assert gain_of("leaky_relu", 0.3) == pytest.approx(nn.init.calculate_gain("leaky_relu", 0.3))
    for name, rounded in (("tanh", 5 / 3), ("sigmoid", 1), ("selu", 3 / 4)):
        assert nn.init.calculate_gain(name) == rounded
        assert gain_of(name) != pytest.approx(rounded, rel=0.04)


def test_wrong_arguments():
    with pytest.raises(
        ValueError, match=r"known name; got 'leakyrelu'\. Did you mean leaky_relu\?"
    ):
        gain_of("leakyrelu")
    with pytest.raises(ValueError, match=r"positive, finite E f\(z\)²; got 0\.0\. Give an activ"):
        gain_for(torch.zeros_like)
    with pytest.raises(ValueError, match=r"positive, finite E f\(z\)²; got inf"):
        gain_for(lambda z: z / 0)
    with pytest.raises(TypeError, match="a must be a real number"):
        gain("0.1")

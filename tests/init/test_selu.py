import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.init import ALPHA, SCALE, initialise, moments_after


def test_selus_constants_solve_their_equations():
    """SELU's α and λ are what makes mean 0 and variance 1 a fixed point: the closed form of α and λ
    gives the constants to the last digits, they are those in PyTorch, and with α changed by a
    thousandth the fixed point is gone."""
    tail = math.erfc(1 / math.sqrt(2)) * math.exp(1 / 2)
    deep = math.erfc(math.sqrt(2)) * math.exp(2)
    alpha = math.sqrt(2 / math.pi) / (1 - tail)
    under = 2 + math.pi + 2 * deep + math.pi * tail**2 - 2 * (2 + math.pi) * tail
    assert pytest.approx(alpha, rel=1e-14) == ALPHA
    assert pytest.approx((1 - tail) * math.sqrt(2 * math.pi / under), rel=1e-14) == SCALE
    x = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(F.selu(x), SCALE * F.elu(x, ALPHA))
    assert moments_after(F.selu) == pytest.approx((0, 1), abs=1e-10)
    changed = moments_after(lambda x: SCALE * F.elu(x, 1.001 * ALPHA))
    assert changed != pytest.approx((0, 1), abs=1e-4)


def test_dropout_needs_no_new_derivation_but_its_own_form():
    """Plain dropout after SELU raises the variance, at rate 0.1 by a ninth, while alpha dropout
    keeps mean 0 and variance 1: it sets dropped numbers to -λα and maps the result by
    a = 0.9213 and b = 0.1620 (so they become α' = -1.7581 times 0.9213 plus 0.1620)."""
    torch.manual_seed(0)
    x = F.selu(torch.randn(2_000_000))
    kept = nn.AlphaDropout(0.1)(x)
    assert (kept.mean().item(), kept.var().item()) == pytest.approx((0, 1), abs=0.005)
    plain = nn.Dropout(0.1)(x)
    assert plain.var().item() == pytest.approx(1 / 0.9, abs=0.01)
    assert pytest.approx(-1.7581, abs=5e-5) == -SCALE * ALPHA
    dropped = -1.7581 * 0.9213 + 0.1620
    assert kept.min().item() == pytest.approx(dropped, abs=1e-3)


@pytest.mark.parametrize(("how", "steady"), [("lecun", True), ("kaiming", False)])
def test_a_deep_selu_network_keeps_its_variance(how, steady):
    """Fifty layers of SELU with weights of variance 1 / fan_in leave the variance near 1; with
    Kaiming's gain, made for ReLU, it grows many times over."""
    model = nn.Sequential(*(layer for _ in range(50) for layer in (nn.Linear(256, 256), nn.SELU())))
    initialise(model, how, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        var = model(torch.randn(500, 256, generator=torch.Generator().manual_seed(1))).var().item()
    assert (0.8 < var < 1.2) is steady
    assert steady or var > 100

"""The lesson's rectifier: it leaks, is shifted, and has a ceiling."""

import pytest
import torch
import torch.nn.functional as F

from lehr.models import GeneralReLU

X = torch.linspace(-10, 10, 41)


def test_by_default_it_is_a_rectifier():
    assert torch.equal(GeneralReLU()(X), X.relu())
    assert not torch.equal(GeneralReLU(sub=0.1)(X), X.relu())


def test_it_leaks_then_is_shifted_then_cut():
    expected = (F.leaky_relu(X, 0.1) - 0.4).clamp(max=6.0)
    act = GeneralReLU(leak=0.1, sub=0.4, ceiling=6.0)
    assert torch.equal(act(X), expected)
    assert act(X).max() == 6
    assert not torch.equal(F.leaky_relu(X, 0.1).clamp(max=6.0) - 0.4, expected)


def test_four_tenths_are_the_mean_of_what_a_rectifier_lets_through():
    z = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert GeneralReLU(sub=0.4)(z).mean().abs() < 0.01 < GeneralReLU()(z).mean()


def test_the_shift_is_kept_with_the_weights_and_not_trained():
    act = GeneralReLU(0.1)
    act.shift_(torch.tensor(0.25))
    act.shift_(torch.tensor(0.25))
    other = GeneralReLU(0.1)
    other.load_state_dict(act.state_dict())
    assert torch.equal(other(X), act(X))
    assert act.sub == 0.5
    assert not list(act.parameters())


def test_it_keeps_the_dtype():
    for dtype in (torch.float64, torch.bfloat16):
        assert GeneralReLU(0.1, 0.4, 6.0)(X.to(dtype)).dtype == dtype


def test_it_says_how_it_was_made():
    assert repr(GeneralReLU(0.1, 0.4)) == "GeneralReLU(leak=0.1, sub=0.4, ceiling=None)"


@pytest.mark.parametrize("name", ["leak", "sub", "ceiling"])
def test_arguments_that_cannot_be_used(name):
    with pytest.raises(TypeError, match=f"{name} must be a real number"):
        GeneralReLU(**{name: "0.1"})

"""The arithmetic of a generator and a critic."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr.callbacks.loops.adversarial import frozen, hinge, logistic, slope_penalty, wasserstein


def scores():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(9, 1, generator=draw), torch.randn(9, 1, generator=draw)


def test_the_logistic_loss_is_binary_cross_entropy_with_logits():
    fake, real = scores()
    both = torch.cat([fake, real]), torch.cat([torch.zeros(9, 1), torch.ones(9, 1)])
    ours, torchs = logistic(fake, real), 2 * F.binary_cross_entropy_with_logits(*both)
    torch.testing.assert_close(ours, torchs)
    alone = F.binary_cross_entropy_with_logits(fake, torch.ones(9, 1))
    torch.testing.assert_close(logistic(fake), alone)
    assert not torch.isclose(logistic(real, fake), torchs)


def test_the_wasserstein_loss_is_a_difference_of_means():
    fake, real = scores()
    torch.testing.assert_close(wasserstein(fake, real), (fake - real).mean())
    assert wasserstein(fake) == -fake.mean()


def test_the_hinge_loss_stops_at_one():
    far, near = torch.tensor([-3.0]), torch.tensor([0.0])
    assert hinge(far, -far) == 0
    assert hinge(near, near) == 2
    assert hinge(far) == 3


def test_the_penalty_is_that_of_the_slope_between_the_items():
    """For a critic x -> |x|² the slope at x is 2x, so the penalty is known at every point."""

    class Square(nn.Module):
        def forward(self, x):
            return x.square().sum(1, keepdim=True)

    real, fake = torch.randn(7, 3), torch.randn(7, 3)
    draw = torch.Generator().manual_seed(5)
    share = torch.rand(7, 1, generator=torch.Generator().manual_seed(5))
    between = fake + share * (real - fake)
    expected = (2 * between.norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(slope_penalty(Square(), real, fake, draw), expected)
    other = slope_penalty(Square(), real, fake, draw)  # at other points
    assert not torch.isclose(other, expected)


def test_the_penalty_has_a_gradient_for_the_critic_alone():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    fake = torch.randn(3, 2, 2, requires_grad=True)
    slope_penalty(critic, torch.randn(3, 2, 2), fake, torch.Generator()).backward()
    assert critic[1].weight.grad.abs().sum() > 0
    assert fake.grad is None


def test_a_flat_critic_has_a_penalty_without_a_gradient_that_is_no_number():
    critic = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        critic[0].weight.zero_()
        critic[0].bias.fill_(-1.0)
    penalty = slope_penalty(critic, torch.ones(4, 2), torch.zeros(4, 2), torch.Generator())
    assert penalty == 1
    penalty.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


def test_what_was_frozen_before_stays_so():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(layer):
        assert not layer.weight.requires_grad
        raise ZeroDivisionError
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad

"""Gradients are put aside, and back as the same objects."""

import torch

from lehr.base.gradients import put_aside_gradients


def test_each_gets_back_what_it_had_and_what_came_meanwhile_is_gone():
    one, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    one.grad = had = torch.full((2,), 5.0)
    back = put_aside_gradients(iter([one, other]))
    assert one.grad is None
    (one * other).sum().backward()
    assert torch.equal(one.grad, torch.ones(2))
    back()
    assert one.grad is had
    assert torch.equal(had, torch.full((2,), 5.0))
    assert other.grad is None


def test_the_same_parameter_twice_gets_its_gradient_back():
    p = torch.ones(1, requires_grad=True)
    p.grad = had = torch.ones(1)
    put_aside_gradients({id(p): p for p in [p, p]}.values())()
    assert p.grad is had

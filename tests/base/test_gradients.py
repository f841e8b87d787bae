"""Gradients are put aside, and back as the same objects."""

import math

import pytest
import torch

from lehr.base.gradients import dense_values, put_aside_gradients, total_norm


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


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_the_norm_of_all_is_that_of_one_long_vector_also_of_sparse_gradients(norm_type):
    a, b = torch.tensor([[3.0, 1.0], [-4.0, 0.0], [2.0, 1.0]]), torch.tensor([1.5, 2.0])
    twice = torch.sparse_coo_tensor([[0, 0, 2]], a, (5, 2), check_invariants=True)
    dense = torch.cat([twice.to_dense().flatten(), b])
    norm = total_norm([twice, b], norm_type)
    assert torch.allclose(norm, torch.linalg.vector_norm(dense, norm_type))
    assert not torch.allclose(norm, total_norm([a, b], norm_type))  # the control


def test_what_a_dense_gradient_holds_is_itself():
    gradient = torch.ones(2)
    assert dense_values(gradient) is gradient

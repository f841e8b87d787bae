"""A sum with a factor is the same sum once it is written out."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lehr.loop.step.factors import Factors


def traced(function, *inputs):
    """The sums of a function's graph after the pass, and what it returned before and after."""
    made = make_fx(function, tracing_mode="fake")(*inputs)
    before = made(*inputs)
    Factors()(made.graph)
    made.graph.lint()
    made.recompile()
    sums = made.graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor)
    return sums, before, made(*inputs)


@pytest.mark.parametrize("factor", [0.1, -2, 0])
def test_a_factor_becomes_a_product(factor):
    torch.manual_seed(0)
    (node,), before, after = traced(
        lambda a, b: torch.add(a @ a, b, alpha=factor), torch.randn(3, 3), torch.randn(3, 3)
    )
    assert node.kwargs == {}
    assert node.args[1].target == torch.ops.aten.mul.Tensor
    assert node.args[1].meta["val"].shape == (3, 3)
    torch.testing.assert_close(after, before)


def test_a_sum_without_one_stays_as_it_is():
    (node, other), before, after = traced(
        lambda a, b: torch.add(torch.add(a, b), 2.0, alpha=1.0), torch.ones(3), torch.ones(3)
    )
    assert {node.args[1].op, type(other.args[1])} == {"placeholder", float}
    assert torch.equal(before, after)


def test_another_text_is_another_pass():
    assert Factors().uuid() == Factors().uuid()

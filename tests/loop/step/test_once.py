"""What is computed of rates and counts is computed once, and not for each item of a tensor."""

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lehr.loop.step.once import Once

KEEP = torch.ops.aten.as_strided.default


def traced(function, *inputs):
    """A graph of the function before and after the pass: how much is kept, and what it returns."""
    made = make_fx(function, tracing_mode="fake")(*inputs)
    before = made(*inputs)
    Once()(made.graph)
    made.graph.lint()
    made.recompile()
    kept = [node for node in made.graph.nodes if node.target is KEEP]
    return kept, before, made(*inputs)


def adam(p, grad, step, lr, beta):
    step = step.double() + 1
    return p - (lr / (1 - beta**step)) * grad, (1 - lr * 0.01) * p, step.float()


def of(dtype):
    torch.manual_seed(0)
    numbers = [torch.tensor(value, dtype=dtype) for value in (0.1, 0.9)]
    return torch.randn(5), torch.randn(5), torch.tensor(3.0), *numbers


def test_a_number_is_kept_where_a_tensor_takes_it():
    kept, before, after = traced(adam, *of(torch.float64))
    (rate,) = kept  # over its correction; what is left of the weights is but a product
    assert rate.meta["val"].shape == ()
    assert all(user.meta["val"].shape == (5,) for user in rate.users)
    for x, y in zip(before, after, strict=True):
        assert torch.equal(x, y)


def test_a_number_of_two_tensors_is_kept_once():
    kept, before, after = traced(twice, *of2())
    assert len(kept) == 1
    assert len(kept[0].users) == 2
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def of2():
    return torch.ones(2), torch.ones(3), torch.tensor(0.5, dtype=torch.float64)


def twice(p, q, rate):
    root = rate.sqrt()
    return p * root, q * root


def test_what_is_not_computed_of_them_stays_in_its_kernel():
    def plain(p, q, rate):
        small = p.sum() * 2  # of the model's own, in single precision
        return p * small, q * rate  # and a rate as it is given

    assert traced(plain, *of2())[0] == []


def single(number):
    return torch.ops.prims.convert_element_type(number, torch.float32)


def test_what_takes_an_instruction_is_repeated():
    def descend(p, q, rate):
        return p - rate * p, q + single(2 - rate) * q

    assert traced(descend, *of2())[0] == []
    kept, before, after = traced(lambda p, q, rate: (p * (1 - rate.sqrt()), q), *of2())
    assert len(kept) == 1  # a difference, but of a root
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_another_version_of_it_is_another_in_the_cache():
    assert Once().uuid() == Once().uuid() != b""


def test_a_long_sum_of_numbers_is_looked_through_once():
    def summed(p, rate):
        total, before = rate + 1, rate
        for _ in range(1200):  # each of the two before it, so that there are many ways through
            total, before = total + before, total
        return p * total

    kept, _, _ = traced(summed, torch.ones(2), torch.tensor(0.5, dtype=torch.float64))
    assert kept == []

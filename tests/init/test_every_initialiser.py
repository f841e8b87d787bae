"""What holds for every function that fills a weight, found by discovery."""

import inspect

import pytest
import torch

import lehr.init

FILLS = {
    name: fill
    for name in lehr.init.__all__
    if inspect.isfunction(fill := getattr(lehr.init, name))
    and next(iter(inspect.signature(fill).parameters)) == "weight"
    and "generator" in inspect.signature(fill).parameters
}
SHAPE = (24, 8, 3, 3)
each = pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_they_are_found():
    assert len(FILLS) == 9


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_it_works_in_place_in_every_precision(fill, dtype):
    weight = torch.nn.Parameter(torch.full(SHAPE, torch.nan, dtype=dtype))
    place = weight.data_ptr()
    assert fill(weight, generator=seeded(0)) is weight
    assert (weight.dtype, weight.data_ptr(), weight.requires_grad) == (dtype, place, True)
    assert weight.grad_fn is None
    assert weight.isfinite().all()
    assert weight.float().std() > 0.01


@each
def test_it_follows_its_generator_and_no_other(fill):
    before = torch.get_rng_state()
    first, same, other = (fill(torch.empty(SHAPE), generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_it_follows_the_default_generator_if_none_is_given(fill):
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(fill(torch.empty(SHAPE)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@each
def test_it_keeps_a_frozen_weight_frozen(fill):
    assert not fill(torch.empty(SHAPE)).requires_grad


@each
def test_it_fills_a_weight_that_is_not_contiguous(fill):
    weight = torch.empty(SHAPE).to(memory_format=torch.channels_last)
    filled = fill(weight, generator=seeded(0))
    assert filled.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(filled.std(), fill(torch.empty(SHAPE)).std(), rtol=0.2, atol=0)


@each
def test_it_refuses_what_is_no_weight(fill):
    with pytest.raises(ValueError, match=r"weight must have at least \d dimensions; got shape \(3"):
        fill(torch.empty(3))
    with pytest.raises(ValueError, match=r"weight must not be empty; got shape \(0, 3, 3\)"):
        fill(torch.empty(0, 3, 3))
    with pytest.raises(TypeError, match=r"floating-point numbers; got torch\.int64"):
        fill(torch.ones(SHAPE, dtype=torch.int64))
    with pytest.raises(TypeError, match="weight must be a tensor; got Linear"):
        fill(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", [name for name in FILLS if name != "lecun_normal_"])
def test_it_refuses_a_factor_that_is_none(name):
    factor = "a" if name.startswith("kaiming") else "gain"
    with pytest.raises(ValueError, match=f"{factor} must be finite; got nan"):
        FILLS[name](torch.empty(SHAPE), **{factor: float("nan")})
    with pytest.raises(TypeError, match=f"{factor} must be a real number; got 'relu'"):
        FILLS[name](torch.empty(SHAPE), **{factor: "relu"})

"""Orders that are computed part by part."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr.data import Sampler
from lehr.data.loading.permuted import MANY, Counted, Permuted, order_of
from lehr.state.streams import shuffled


@settings(deadline=None)
@given(n=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_each_item_comes_once(n, key):
    assert Permuted(n, key)[0:n].sort().values.equal(torch.arange(n))


@pytest.mark.parametrize("n", [2**20, 2**20 + 1, 1_000_003])
def test_of_many_items_each_comes_once(n):
    assert Permuted(n, 3)[0:n].sort().values.equal(torch.arange(n))


@settings(deadline=None)
@given(n=st.integers(1, 10**12), data=st.data())
def test_a_part_is_a_part_of_the_whole(n, data):
    start = data.draw(st.integers(0, n - 1))
    order = Permuted(n, 7)
    part = order[start : start + 100]
    assert len(part) == min(100, n - start)
    assert int(part.min()) >= 0
    assert int(part.max()) < n
    assert len(part.unique()) == len(part)
    assert order[start + 5 : start + 20].equal(part[5:20])


def test_another_key_is_another_order():
    one, other = Permuted(1000, 1)[0:1000], Permuted(1000, 2)[0:1000]
    assert not one.equal(other)
    assert one.equal(Permuted(1000, 1)[0:1000])
    assert int((one == torch.arange(1000)).sum()) < 10


def correlation(a, b) -> float:
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])


def test_neither_places_nor_neighbours_tell_anything():
    n, keys = 100_000, range(20)
    orders = [Permuted(n, key)[0:n] for key in keys]
    trend = [correlation(torch.arange(n), order) for order in orders]
    serial = [correlation(order[:-1], order[1:]) for order in orders]
    for found in (trend, serial):  # of random orders they are about 1 / sqrt(n)
        assert torch.tensor(found).square().mean().sqrt() * n**0.5 < 1.6
    ordered = torch.arange(n)  # the control
    assert correlation(ordered[:-1], ordered[1:]) > 0.99


def test_batches_of_a_sorted_set_are_mixed():
    """The classes of a set that is sorted by class are spread as in batches drawn at random."""
    n, size = 2**17, 256
    counts = torch.cat([(Permuted(n, k)[0:n].reshape(-1, size) < n // 2).sum(1) for k in range(20)])
    expected = size / 4 * (n - size) / (n - 1)
    assert float(counts.double().var()) == pytest.approx(expected, rel=0.1)


def test_few_items_have_the_order_that_they_had():
    assert order_of(10, 3).equal(shuffled(10, 3))
    assert order_of(10, None).tolist() == list(range(10))
    assert isinstance(order_of(MANY, None), Counted)
    assert isinstance(order_of(MANY, 3), Permuted)


def test_a_sampler_of_a_great_many_reads_only_what_is_asked_for():
    sampler = Sampler(10**11, 64, shuffle=True)
    batches = sampler.batches(seed=1, epoch=0, start=10**9)
    first = next(batches)
    assert first.shape == (64,)
    assert int(first.max()) < 10**11
    assert next(sampler.batches(seed=1, epoch=0, start=10**9)).equal(first)
    assert not next(sampler.batches(seed=1, epoch=1, start=10**9)).equal(first)
    in_order = next(Sampler(10**11, 64).batches(seed=1, epoch=0, start=10**9))
    assert in_order.tolist() == list(range(64 * 10**9, 64 * 10**9 + 64))


def test_the_last_batch_is_short():
    n = MANY + 3
    last = list(Sampler(n, 1000, shuffle=True).batches(seed=1, epoch=0, start=n // 1000))
    assert [len(batch) for batch in last] == [n % 1000]

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lehr.data import Sampler
from lehr.state import streams
from lehr.state.streams import Streams, shuffled


def lists(batches):
    return [batch.tolist() for batch in batches]


def flat(batches):
    return torch.cat(list(batches)).tolist()


def test_in_order():
    assert lists(Sampler(10, 3)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_source_may_be_the_data():
    assert lists(Sampler("abcd", 3)) == [[0, 1, 2], [3]]


def test_drop_last():
    assert lists(Sampler(10, 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_two_shuffled_passes_differ_and_equal_seeds_repeat():
    a, b = Sampler(100, 7, shuffle=True, seed=3), Sampler(100, 7, shuffle=True, seed=3)
    first, second = flat(a), flat(a)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert [first, second] == [flat(b), flat(b)]
    assert first != flat(Sampler(100, 7, shuffle=True, seed=4))


def test_without_a_seed_torch_decides():
    def passes():
        torch.manual_seed(11)
        sampler = Sampler(50, 8, shuffle=True)
        return flat(sampler), flat(sampler)

    assert passes() == passes()


def test_without_a_seed_the_process_seed_decides():
    streams.seed(5)
    assert flat(Sampler(50, 8, shuffle=True)) == flat(Sampler(50, 8, shuffle=True, seed=5))


def test_in_order_draws_nothing():
    before = torch.get_rng_state()
    list(Sampler(50, 8))
    assert torch.equal(before, torch.get_rng_state())


def test_the_order_is_the_streams_permutation():
    order = shuffled(10, Streams(7).key("order", 4))
    assert flat(Sampler(10, 3, shuffle=True).batches(7, 4)) == order.tolist()


def test_its_own_seed_wins():
    sampler = Sampler(100, 7, shuffle=True, seed=1)
    assert flat(sampler.batches(1, 0)) == flat(sampler.batches(2, 0))
    unseeded = Sampler(100, 7, shuffle=True)
    assert flat(unseeded.batches(1, 0)) != flat(unseeded.batches(2, 0))


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 70),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 2**40),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_each_index_once_and_seeking_slices(n, batch_size, seed, epoch, drop_last, shuffle, data):
    sampler = Sampler(n, batch_size, shuffle=shuffle, drop_last=drop_last)
    batches = lists(sampler.batches(seed, epoch))
    assert len(batches) == len(sampler)
    seen = [i for batch in batches for i in batch]
    assert len(set(seen)) == len(seen) == (n - n % batch_size if drop_last else n)
    assert set(seen) <= set(range(n))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    start = data.draw(st.integers(0, len(batches)))
    assert lists(sampler.batches(seed, epoch, start)) == batches[start:]


@pytest.mark.parametrize("start", [-1, 5])
def test_start_outside(start):
    with pytest.raises(ValueError, match=f"start must be in 0 to 4, .* got {start}"):
        Sampler(10, 3).batches(0, 0, start)


def test_empty():
    with pytest.raises(ValueError, match="source must hold at least one item; got 0"):
        Sampler([], 3)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError)])
def test_batch_size(size, error):
    with pytest.raises(error, match="batch_size must be"):
        Sampler(10, size)

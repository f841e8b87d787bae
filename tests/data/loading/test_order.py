import pytest
import torch
from torch.utils.data import BatchSampler, DistributedSampler, RandomSampler, SequentialSampler

from lehr.data.loading.order import ForeignOrder


def flat(batches):
    return torch.cat(list(batches)).tolist()


def test_torchs_random_sampler_becomes_a_function_of_seed_and_epoch():
    order = ForeignOrder(RandomSampler(range(100)), 7)
    torch.manual_seed(0)
    first = flat(order.batches(1, 0))
    before = torch.get_rng_state()
    assert flat(order.batches(1, 0)) == first
    assert torch.equal(before, torch.get_rng_state())
    assert flat(order.batches(1, 1)) != first
    assert flat(order.batches(2, 0)) != first
    assert flat(order.batches(1, 0, start=3)) == first[21:]


def test_set_epoch_is_called():
    sampler = DistributedSampler(range(20), num_replicas=2, rank=0)
    order = ForeignOrder(sampler, 4)
    flat(order.batches(0, 3))
    assert sampler.epoch == 3


def test_length_and_drop_last():
    assert len(ForeignOrder([4, 2, 0], 2)) == 2
    order = ForeignOrder([4, 2, 0], 2, drop_last=True)
    assert len(order) == 1
    assert flat(order.batches(0, 0)) == [4, 2]


def test_start_outside():
    with pytest.raises(ValueError, match="start must be in 0 to 2"):
        ForeignOrder([4, 2, 0], 2).batches(0, 0, 3)


def test_not_iterable():
    with pytest.raises(TypeError, match="sampler must be an iterable of indices; got int"):
        ForeignOrder(3, 2)


def test_one_shot():
    with pytest.raises(TypeError, match="list_iterator, which can be read only once"):
        ForeignOrder(iter([1]), 2)


def test_no_length():
    class Endless:
        def __iter__(self):
            return iter(int, 1)

    with pytest.raises(TypeError, match="must have a length; got Endless"):
        ForeignOrder(Endless(), 2)


def test_wrong_length():
    class Short(SequentialSampler):
        def __len__(self):
            return 7

    with pytest.raises(ValueError, match="it says 7 and yields 3"):
        ForeignOrder(Short(range(3)), 2).batches(0, 0)


@pytest.mark.parametrize("sampler", [BatchSampler(range(4), 2, False), [0.5, 1.5]])
def test_no_single_indices(sampler):
    with pytest.raises(TypeError, match="sampler must yield one int an item"):
        ForeignOrder(sampler, 2).batches(0, 0)


@pytest.mark.parametrize(
    "mask", [[True, False], torch.tensor([True, False])], ids=["list", "torch"]
)
def test_a_mask_is_no_sampler(mask):
    with pytest.raises(TypeError, match=r"as of a mask\. Give the indices, mask\.nonzero\(\)"):
        ForeignOrder(mask, 2).batches(0, 0)


def test_what_is_no_index_is_named():
    with pytest.raises(TypeError, match=r"one int an item; got 0\.5\."):
        ForeignOrder([0, 0.5], 2).batches(0, 0)

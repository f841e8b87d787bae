"""Rung 4: datasets, samplers and both loaders give the batches that torch's loader gives."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import data as torch_data

from lehr.foundations.data import (
    DataLoader,
    Dataset,
    Sampler,
    SliceLoader,
    collate,
    get_dls,
)


def numbered(n: int) -> Dataset:
    return Dataset(torch.arange(n, dtype=torch.float32)[:, None] * 10, torch.arange(n))


def equal(batches, others) -> bool:
    batches, others = list(batches), list(others)
    return len(batches) == len(others) and all(
        torch.equal(a, b)
        for one, other in zip(batches, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def targets(loader) -> list[list[int]]:
    return [yb.tolist() for _, yb in loader]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.booleans())
def test_both_loaders_equal_torchs(n, bs, drop_last):
    ds = numbered(n)
    theirs = torch_data.DataLoader(
        torch_data.TensorDataset(ds.x, ds.y), batch_size=bs, drop_last=drop_last
    )
    ours = DataLoader(ds, Sampler(ds, bs, drop_last=drop_last))
    assert len(ours) == len(theirs) == len(list(ours))
    assert equal(ours, theirs)
    if not drop_last:
        assert equal(SliceLoader(ds, bs), theirs)
        assert len(SliceLoader(ds, bs)) == len(theirs)


def test_negative_control_another_order_or_size_is_not_equal():
    ds = numbered(10)
    theirs = list(torch_data.DataLoader(torch_data.TensorDataset(ds.x, ds.y), batch_size=4))
    assert equal(SliceLoader(ds, 4), theirs)
    assert not equal(SliceLoader(ds, 5), theirs)
    assert not equal(DataLoader(ds, [[1, 0, 2, 3], [4, 5, 6, 7], [8, 9]]), theirs)


def test_our_sampler_and_collate_drive_torchs_loader():
    ds = numbered(10)
    theirs = torch_data.DataLoader(ds, batch_sampler=Sampler(ds, 3), collate_fn=collate)
    assert equal(theirs, SliceLoader(ds, 3))


@pytest.mark.parametrize(
    ("n", "bs", "batches", "last"), [(50_000, 64, 782, 16), (128, 64, 2, 64), (0, 64, 0, None)]
)
def test_slices_cover_the_data_once(n, bs, batches, last):
    """50,000 items in slices of 64 make 782 batches with 16 in the last; 128 items make exactly 2,
    and none make none. With ``n // bs + 1`` there would be an empty third.
    """
    loader = SliceLoader(Dataset(torch.zeros(n, 1), torch.zeros(n)), bs)
    sizes = [len(xb) for xb, _ in loader]
    assert len(sizes) == len(loader) == batches
    assert sum(sizes) == n
    assert (sizes[-1] if sizes else None) == last
    if n == 128:
        assert n // bs + 1 == 3


def test_a_dataset_pairs_inputs_and_targets():
    """A dataset has a length, and an integer, a slice or a list of integers picks both halves."""
    ds = Dataset(torch.rand(100, 784), torch.arange(100) % 10)
    assert len(ds) == 100
    xs, ys = ds[0:5]
    assert xs.shape == (5, 784)
    assert ys.tolist() == [0, 1, 2, 3, 4]
    xs, ys = ds[[3, 6, 8, 1]]
    assert torch.equal(xs, ds.x[[3, 6, 8, 1]])
    assert ys.tolist() == [3, 6, 8, 1]
    assert ds[7][1] == 7


def test_inputs_and_targets_of_unequal_length_are_refused():
    """Inputs and targets that do not pair up are refused when the dataset is made."""
    with pytest.raises(ValueError, match="x and y must be as long; got 3 and 2"):
        Dataset(torch.zeros(3), torch.zeros(2))


def test_dataset_slices_are_the_batches_of_slicing_both_tensors():
    """Slicing the dataset gives the very batches that slicing inputs and targets by hand gives."""
    ds, bs = numbered(150), 64
    n = len(ds)
    by_hand = [(ds.x[i * bs :][:bs], ds.y[i * bs :][:bs]) for i in range((n - 1) // bs + 1)]
    assert equal(SliceLoader(ds, bs), by_hand)
    assert not equal(SliceLoader(ds, bs), by_hand[:-1])


def test_a_loader_can_be_read_again_and_knows_its_length():
    """A loader gives the same batches each time it is read, and its length is ceil(n / bs)."""
    loader = SliceLoader(Dataset(torch.rand(130, 784), torch.arange(130)), 64)
    xb, yb = next(iter(loader))
    assert (xb.shape, yb.shape) == ((64, 784), (64,))
    assert equal(loader, loader)
    assert len(loader) == 3
    generator = iter(loader)
    assert (len(list(generator)), len(list(generator))) == (3, 0)  # which can be read only once


class Counting:
    """A dataset that counts how often it was read."""

    def __init__(self, n):
        self.n, self.reads = n, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.reads += 1
        return torch.tensor([1.0]), torch.tensor(0)


def test_loaders_are_generators_that_read_no_further_than_asked():
    """The first of many batches is ready after reading its own items only."""
    for make, reads in ((SliceLoader, 1), (lambda ds, bs: DataLoader(ds, Sampler(ds, bs)), 4)):
        ds = Counting(1000)
        batches = iter(make(ds, 4))
        assert iter(batches) is batches
        assert ds.reads == 0
        next(batches)
        assert ds.reads == reads
        list(itertools.islice(batches, 2))
        assert ds.reads == 3 * reads


def test_a_sampler_yields_every_index_once():
    """Ten indices in threes are [0 1 2][3 4 5][6 7 8][9]; shuffled, each comes once, in another
    order on every pass, which a seeded generator repeats.
    """
    assert list(Sampler(range(10), 3)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    shuffled = Sampler(range(100), 3, shuffle=True, generator=torch.Generator().manual_seed(0))
    first, second = (list(itertools.chain(*shuffled)) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    again = Sampler(range(100), 3, shuffle=True, generator=torch.Generator().manual_seed(0))
    assert list(itertools.chain(*again)) == first


def test_without_a_generator_torchs_default_one_decides():
    """The order of an unseeded sampler is governed by ``torch.manual_seed``."""
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        orders.append(list(Sampler(range(50), 50, shuffle=True)))
    assert orders[0] == orders[1] != orders[2]


def test_the_second_loader_follows_its_sampler():
    """The order of batches is the sampler's; in plain order they equal the slices."""
    ds = numbered(10)
    assert targets(DataLoader(ds, [[9, 0], [5]])) == [[9, 0], [5]]
    assert equal(DataLoader(ds, Sampler(ds, 4)), SliceLoader(ds, 4))
    assert not equal(DataLoader(ds, [[0, 1, 2, 4], [3, 5, 6, 7], [8, 9]]), SliceLoader(ds, 4))
    assert targets(DataLoader(ds, Sampler(ds, 4), lambda items: (None, items[0][1]))) == [0, 4, 8]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_torchs_loader_give_the_same_samples():
    """torch's loader over our dataset reads the same set of samples with and without workers."""
    ds = numbered(50)
    alone = torch_data.DataLoader(ds, batch_size=7, shuffle=True)
    workers = torch_data.DataLoader(ds, batch_size=7, shuffle=True, num_workers=2)
    read = sorted(itertools.chain(*targets(workers)))
    assert read == sorted(itertools.chain(*targets(alone))) == list(range(50))


def test_drop_last_leaves_out_the_short_batch_of_training_only():
    """Dropping the short last batch leaves 781 of 782, all of 64; validation sees all 10,000."""
    x = torch.zeros(50_000, 1)
    train_ds, valid_ds = Dataset(x, x[:, 0]), Dataset(x[:10_000], x[:10_000, 0])
    train_dl, valid_dl = get_dls(train_ds, valid_ds, 64, drop_last=True)
    sizes = [len(indices) for indices in train_dl.sampler]
    assert (len(sizes), set(sizes), len(train_dl)) == (781, {64}, 781)
    assert sum(len(indices) for indices in valid_dl.sampler) == 10_000
    kept = [len(indices) for indices in get_dls(train_ds, valid_ds, 64)[0].sampler]
    assert (len(kept), kept[-1]) == (782, 16)


def test_get_dls_shuffles_training_and_doubles_the_batch_of_validation():
    """50,000 and 10,000 items at 64 make 782 and 79 batches; only training is shuffled."""
    train_ds, valid_ds = numbered(50_000), numbered(10_000)
    train_dl, valid_dl = get_dls(train_ds, valid_ds, 64)
    assert (len(train_dl), len(valid_dl)) == (782, 79)
    assert next(iter(valid_dl))[1].tolist() == list(range(128))
    assert next(iter(train_dl))[1].tolist() != list(range(64))
    assert train_dl.dataset is train_ds


@pytest.mark.parametrize("bs", [0, -3])
def test_a_batch_size_below_one_is_refused(bs):
    for make in (SliceLoader, Sampler):
        with pytest.raises(ValueError, match=f"bs must be at least 1; got {bs}"):
            make(numbered(4), bs)


class Tensors:
    """A sampler that yields tensors of indices, as one that cuts a permutation does."""

    def __init__(self, *batches):
        self.batches = [torch.tensor(batch) for batch in batches]

    def __iter__(self):
        return iter(self.batches)


def test_a_sampler_may_yield_tensors():
    """Indices in tensors choose the same items as those in lists, from any kind of dataset."""
    ds = numbered(10)
    chosen = [[9, 0], [5]]
    assert equal(DataLoader(ds, Tensors(*chosen)), DataLoader(ds, chosen))
    assert not equal(DataLoader(ds, Tensors([0, 9], [5])), DataLoader(ds, chosen))
    by_key = {i: ds[i] for i in range(10)}  # a tensor is no key
    assert equal(DataLoader(by_key, Tensors(*chosen)), DataLoader(ds, chosen))


def test_a_batch_size_in_the_place_of_a_sampler_is_refused():
    """A number where the sampler belongs is an error that names both loaders for a batch size."""
    with pytest.raises(
        TypeError, match="sampler must yield the indices of each batch; got 64"
    ) as e:
        DataLoader(numbered(4), 64)
    assert "DataLoader(ds, Sampler(ds, 64)), or SliceLoader(ds, 64)" in str(e.value)

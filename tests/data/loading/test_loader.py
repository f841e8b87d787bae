import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import (
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from lehr.data import DataLoader, Dataset, Sampler
from lehr.types import is_seekable

X, Y = torch.arange(40.0).reshape(20, 2), torch.arange(20)
DS = Dataset(X, Y)


class Counting:
    """A million items that count how often one is read."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return 1_000_000

    def __getitem__(self, i):
        self.read += 1
        return i, 0


class Random:
    """Items that draw from every global generator."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return i, float(torch.rand(())), float(np.random.rand()), random.random()


def generators():
    _kind, keys, *place = np.random.get_state()
    return torch.get_rng_state().tolist(), keys.tolist(), place, random.getstate()


def ys(batches):
    return [yb.tolist() for _, yb in batches]


def flat(batches):
    return [i for batch in batches for i in batch[-1].tolist()]


def rows(batches):
    return [row for batch in batches for row in torch.stack([*batch], 1).tolist()]


def test_it_is_seekable():
    assert is_seekable(DataLoader(DS))
    assert not is_seekable(TorchLoader(DS))


def test_consecutive_batches_twice():
    dl = DataLoader(DS, 8)
    assert ys(dl) == ys(dl) == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]
    assert len(dl) == 3
    assert (dl.dataset, dl.batch_size) == (DS, 8)
    xb, yb = next(iter(dl))
    assert torch.equal(xb, X[:8])
    assert torch.equal(yb, Y[:8])


def test_default_batch_size():
    assert DataLoader(DS).batch_size == 64


def test_lazy_and_seeking_reads_nothing_before():
    data = Counting()
    batches = DataLoader(data, 10, shuffle=True).batches(seed=1, epoch=0, start=99_998)
    assert data.read == 0
    next(batches)
    assert data.read == 10
    assert len(list(batches)) == 1
    assert data.read == 20


def test_drop_last():
    assert ys(DataLoader(DS, 8, drop_last=True)) == [[*range(8)], [*range(8, 16)]]


def test_items_equal_gather():
    assert ys(DataLoader(list(zip(X, Y, strict=True)), 8)) == ys(DataLoader(DS, 8))


def test_same_batches_as_torch():
    ours = list(DataLoader(TensorDataset(X, Y), 8))
    theirs = list(TorchLoader(TensorDataset(X, Y), 8))
    for a, b in zip(ours, theirs, strict=True):
        assert all(torch.equal(i, j) for i, j in zip(a, b, strict=True))


def test_the_order_is_a_function_of_seed_and_epoch():
    a, b = (
        DataLoader(DS, 8, shuffle=True),
        DataLoader(list(zip(X, Y, strict=True)), 8, shuffle=True),
    )
    first = ys(a.batches(1, 0))
    list(a)
    torch.manual_seed(99)
    assert ys(a.batches(1, 0)) == ys(b.batches(1, 0)) == first
    assert ys(a.batches(1, 1)) != first
    assert ys(a.batches(2, 0)) != first


def test_by_hand_passes_differ_and_repeat_by_seed():
    a, b = DataLoader(DS, 8, shuffle=True, seed=5), DataLoader(DS, 8, shuffle=True, seed=5)
    passes = [ys(a), ys(a)]
    assert passes[0] != passes[1]
    assert passes == [ys(b), ys(b)] == [ys(a.batches(0, 0)), ys(a.batches(99, 1))]


def test_by_hand_without_a_seed_torch_decides():
    def passes():
        torch.manual_seed(11)
        dl = DataLoader(DS, 8, shuffle=True)
        return ys(dl), ys(dl)

    assert passes() == passes()


@pytest.mark.parametrize("kw", [{}, {"shuffle": True}, {"item_seeds": True}])
@pytest.mark.parametrize("data", [DS, Random()])
def test_the_global_generators_stay(data, kw):
    before = generators()
    list(DataLoader(data, 8, seed=1, **kw))
    list(DataLoader(data, 8, **kw).batches(1, 0))
    assert before == generators()


def test_torchs_loader_would_move_them():
    before = torch.get_rng_state()
    next(iter(TorchLoader(DS, 8)))
    assert not torch.equal(before, torch.get_rng_state())


def test_random_items_are_a_function_of_the_batch_number():
    dl = DataLoader(Random(), 6, shuffle=True)
    whole = list(dl.batches(1, 2))
    torch.manual_seed(5)
    assert rows(dl.batches(1, 2, start=2)) == rows(whole[2:])
    assert rows(dl.batches(1, 3)) != rows(whole)


def test_item_seeds_do_not_depend_on_batch_or_order():
    def items(batch_size, shuffle, epoch=0, item_seeds=True):
        dl = DataLoader(Random(), batch_size, shuffle=shuffle, item_seeds=item_seeds)
        return sorted(rows(dl.batches(1, epoch)))

    assert items(6, True) == items(20, False) == items(1, True)
    assert items(6, True) != items(6, True, epoch=1)
    assert items(6, True, item_seeds=False) != items(20, False, item_seeds=False)
    assert len({row[1] for row in items(6, True)}) == 20


@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    seed=st.integers(),
    epoch=st.integers(0, 1000),
    drop_last=st.booleans(),
    data=st.data(),
)
def test_each_item_once_and_seeking_slices(n, batch_size, seed, epoch, drop_last, data):
    dl = DataLoader(Dataset(torch.arange(n), torch.arange(n)), batch_size, shuffle=True,
                    drop_last=drop_last)  # fmt: skip
    batches = ys(dl.batches(seed, epoch))
    assert len(batches) == len(dl)
    seen = [i for batch in batches for i in batch]
    assert len(set(seen)) == len(seen) == (n - n % batch_size if drop_last else n)
    start = data.draw(st.integers(0, len(batches)))
    assert ys(dl.batches(seed, epoch, start)) == batches[start:]


def test_our_sampler_decides():
    dl = DataLoader(DS, sampler=Sampler(DS, 6, shuffle=True, drop_last=True))
    assert (len(dl), dl.batch_size) == (3, 6)
    assert flat(dl.batches(3, 0)) == flat(DataLoader(DS, 6, shuffle=True).batches(3, 0))[:18]
    own = DataLoader(DS, sampler=Sampler(DS, 6, shuffle=True, seed=3))
    assert flat(own) == flat(DataLoader(DS, 6, shuffle=True).batches(3, 0))


def test_somebody_elses_sampler_decides():
    assert flat(DataLoader(DS, 8, sampler=SequentialSampler(DS))) == list(range(20))
    assert ys(DataLoader(DS, 2, sampler=[4, 0, 9])) == [[4, 0], [9]]
    dl = DataLoader(DS, 8, sampler=RandomSampler(DS), seed=1)
    first, second = flat(dl), flat(dl)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert flat(dl.batches(0, 0)) == first


def test_collate_fn_gets_the_items():
    dl = DataLoader(DS, 8, collate_fn=lambda items: [int(y) for _, y in items])
    assert list(dl) == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]


def test_ragged_items_are_named():
    dl = DataLoader([torch.zeros(2), torch.zeros(3)], 2)
    with pytest.raises(ValueError, match=re.escape("item 1 has shape (3,)")):
        next(iter(dl))


def test_batches_are_copies():
    ds = Dataset(X.clone(), Y)
    for xb, _ in DataLoader(ds, 8):
        xb.zero_()
    assert torch.equal(ds.x, X)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), ("8", TypeError)])
@pytest.mark.parametrize("sampler", [None, [1, 2]])
def test_batch_size(size, error, sampler):
    with pytest.raises(error, match="batch_size must be"):
        DataLoader(DS, size, sampler=sampler)


def test_empty_dataset():
    with pytest.raises(ValueError, match="dataset must hold at least one item; got none"):
        DataLoader([])


def test_datasets_that_cannot_be_indexed():
    class Stream(IterableDataset):
        def __len__(self):
            return 3

        def __iter__(self):
            return iter(range(3))

    with pytest.raises(
        TypeError, match=r"got Stream, which can only be iterated\. Wrap it in torch\.utils\.data"
    ):
        DataLoader(Stream())
    with pytest.raises(TypeError, match="got generator, which has no __len__"):
        DataLoader(i for i in range(3))
    with pytest.raises(TypeError, match="got set, which has no __getitem__"):
        DataLoader({1, 2})


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_num_workers(n, error):
    with pytest.raises(error, match=r"num_workers must be .* Give 0 to read in this process"):
        DataLoader(DS, num_workers=n)


def test_two_that_decide_the_order():
    with pytest.raises(ValueError, match="shuffle=True and sampler=list both decide the order"):
        DataLoader(DS, shuffle=True, sampler=[1, 2])
    with pytest.raises(ValueError, match="batch_size=8 is not the sampler's, which is 6"):
        DataLoader(DS, 8, sampler=Sampler(DS, 6))
    with pytest.raises(ValueError, match="drop_last=True is for the sampler to decide"):
        DataLoader(DS, sampler=Sampler(DS, 6), drop_last=True)


@pytest.mark.parametrize("start", [-1, 4])
def test_start_outside(start):
    with pytest.raises(ValueError, match=f"start must be in 0 to 3, .* got {start}"):
        DataLoader(DS, 8).batches(0, 0, start)


def test_start_at_the_end():
    assert list(DataLoader(DS, 8).batches(0, 0, 3)) == []


def test_repr():
    assert repr(DataLoader([1, 2, 3], 2)) == "DataLoader(2 batches of 2 from [1, 2, 3])"


# A dataset that grows or shrinks ----------------------------------------------------------------


class Growing:
    """Item i is i."""

    def __init__(self, n):
        self.values = torch.arange(n)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i]


def grow_dataset(ds, n):
    ds.x = ds.y = torch.arange(n)


def grow_tensors(ds, n):
    ds.tensors = (torch.arange(n), torch.arange(n))


def grow_subset(ds, n):
    ds.indices[:] = range(n)


def grow_items(ds, n):
    ds.values = torch.arange(n)


CHANGES = {
    "Dataset": (lambda n: Dataset(torch.arange(n), torch.arange(n)), grow_dataset),
    "TensorDataset": (lambda n: TensorDataset(torch.arange(n), torch.arange(n)), grow_tensors),
    "Subset": (lambda n: Subset(Dataset(range(99), range(99)), list(range(n))), grow_subset),
    "items": (Growing, grow_items),
}


def seen(loader, epoch):
    batches = list(loader.batches(seed=1, epoch=epoch))
    assert len(batches) == len(loader)
    return torch.cat([b if isinstance(b, torch.Tensor) else b[0] for b in batches]).tolist()


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("n", [1, 7, 14, 40])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_has_the_items_that_the_dataset_has_when_it_begins(kind, n, num_workers):
    make, change = CHANGES[kind]
    dataset = make(10)
    loader = DataLoader(dataset, 4, shuffle=True, num_workers=num_workers)
    assert sorted(seen(loader, 0)) == list(range(10))
    change(dataset, n)
    assert sorted(seen(loader, 1)) == list(range(n))
    afresh = DataLoader(dataset, 4, shuffle=True)
    assert seen(loader, 2) == seen(afresh, 2)
    if num_workers:
        loader._workers.close()


def test_an_epoch_that_has_begun_keeps_its_order_when_the_dataset_grows():
    dataset = Growing(10)
    loader = DataLoader(dataset, 4, shuffle=True)
    whole = seen(loader, 0)
    batches = loader.batches(1, 0)
    first = next(batches)
    grow_items(dataset, 20)
    assert torch.cat([first, *batches]).tolist() == whole


def test_a_new_batch_size_holds_from_the_next_epoch_on():
    loader = DataLoader(Dataset(torch.arange(10.0), torch.arange(10)), 4)
    under_way = loader.batches(seed=0, epoch=0)
    loader.batch_size = 5
    assert [len(yb) for _, yb in under_way] == [4, 4, 2]
    assert [len(yb) for _, yb in loader] == [5, 5]
    assert (len(loader), loader.batch_size, loader.sampler.batch_size) == (2, 5, 5)
    with pytest.raises(TypeError, match=r"batch_size must be an int of at least 1; got 2.5"):
        loader.batch_size = 2.5


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sampler_may_count_from_the_end_of_data_in_memory(workers):
    loader = DataLoader(DS, 2, sampler=[-1, 0, -20], num_workers=workers)
    assert [yb.tolist() for _, yb in loader] == [[19, 0], [0]]
    with pytest.raises(IndexError, match=r"the sampler's indices must be from 0 to 19, .* got 20"):
        list(DataLoader(DS, 2, sampler=[0, 20], num_workers=workers))


@pytest.mark.parametrize("make", [DataLoader, Sampler])
@pytest.mark.parametrize("seed", ["a", 1.5, True])
def test_a_seed_is_a_whole_number(make, seed):
    with pytest.raises(TypeError, match="seed must be an int or None; got"):
        make(DS, 2, shuffle=True, seed=seed)


def test_a_collate_fn_can_be_called():
    with pytest.raises(TypeError, match=r"collate_fn must be a function of a list .* got 3\."):
        DataLoader(DS, 2, collate_fn=3)


class Stopping:
    """Says that it draws nothing, and that there is nothing more."""

    draws = False

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return i

    def gather(self, indices):
        raise StopIteration


def test_a_gather_that_raises_stop_iteration_ends_no_epoch():
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(DataLoader(Stopping(), 2))

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from lehr.data import Dataset
from lehr.data.loading.fetch import Fetch, Request, gather_in_memory

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
INDICES = torch.tensor([8, 1])


def same(a, b):
    return all(torch.equal(i, j) for i, j in zip(a, b, strict=True))


def test_tensors_are_gathered():
    for dataset in (Dataset(X, Y), TensorDataset(X, Y), Subset(TensorDataset(X, Y), range(10))):
        assert same(gather_in_memory(dataset)(INDICES), (X[INDICES], Y[INDICES]))


def test_a_subset_counts_from_its_own_beginning():
    gather = gather_in_memory(Subset(Dataset(X, Y), [5, 6, 7]))
    assert gather(torch.tensor([2, 0]))[1].tolist() == [7, 5]


def test_a_changed_getitem_is_never_passed_over():
    class Ours(Dataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + 100, y

    class Theirs(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + 100, y

    for dataset in (Ours(X, Y), Theirs(X, Y), Subset(Ours(X, Y), range(10))):
        assert gather_in_memory(dataset) is None
        xb, _ = Fetch(dataset)(Request([8, 1], 0, 0, 0))
        assert torch.equal(xb, X[INDICES] + 100)


def test_a_changed_gather_is_used_and_keyed():
    class Noisy(Dataset):
        def gather(self, indices):
            return super().gather(indices)[0] + torch.rand(1), None

    dataset = Noisy(X, Y)
    assert gather_in_memory(dataset) is None
    fetch = Fetch(dataset)
    before = torch.get_rng_state()
    xb, yb = fetch(Request([8, 1], 0, 0, 0))
    assert yb is None
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(xb, fetch(Request([8, 1], 0, 0, 0))[0])
    assert not torch.equal(xb, fetch(Request([8, 1], 0, 0, 1))[0])


def test_anyones_gather_is_used_unless_items_are_wanted():
    class Both:
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return -i

        def gather(self, indices):
            return indices

    request = Request([8, 1], 0, 0, 0)
    assert Fetch(Both())(request).tolist() == [8, 1]
    assert Fetch(Both(), list)(request) == [-8, -1]
    assert Fetch(Both(), item_seeds=True)(request).tolist() == [-8, -1]


def test_torchs_way_of_reading_many():
    class Many(list):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert Fetch(Many(range(10)))(Request([8, 1], 0, 0, 0)).tolist() == [-8, -1]


@pytest.mark.parametrize("indices", [[-1, 0], torch.tensor([-1, 0]), range(-1, 1)])
def test_a_subset_may_count_from_the_end(indices):
    gather = gather_in_memory(Subset(TensorDataset(X), indices))
    assert torch.equal(gather(torch.arange(2))[0], X[[-1, 0]])


@pytest.mark.parametrize(
    ("indices", "error", "match"),
    [
        ([0.7, 1.0], TypeError, r"a Subset's indices must be whole numbers; got torch\.float32"),
        ([True, False], TypeError, r"got torch\.bool\. Give mask\.nonzero\(\)"),
        ([0, 10], IndexError, r"from 0 to 9, or from -10 to -1 .*; got 10\. Were they made for"),
        ([-11], IndexError, "got -11"),
    ],
)
def test_a_subset_of_what_is_not_there_is_refused(indices, error, match):
    with pytest.raises(error, match=match):
        gather_in_memory(Subset(Dataset(X[:10], Y[:10]), indices))

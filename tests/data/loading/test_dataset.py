import numpy as np
import pytest
import torch

from lehr.data import Dataset

X = torch.arange(50.0).reshape(10, 5)
Y = torch.tensor([5, 0, 4, 1, 9, 2, 1, 3, 1, 4])


@pytest.fixture
def ds():
    return Dataset(X, Y)


def test_length(ds):
    assert len(ds) == 10


@pytest.mark.parametrize(
    "index",
    [3, -1, slice(0, 5), [3, 6, 8, 1], torch.tensor([9, 0]), Y > 3, np.array([1, 2]), slice(0, 0)],
)
def test_any_index_gives_the_pair(ds, index):
    x, y = ds[index]
    assert torch.equal(x, X[index])
    assert torch.equal(y, Y[index])


def test_the_lessons_slice(ds):
    x, y = ds[0:5]
    assert (x.shape, y.tolist()) == ((5, 5), [5, 0, 4, 1, 9])


@pytest.mark.parametrize("index", [10, -11])
def test_out_of_range(ds, index):
    with pytest.raises(IndexError, match=f"index {index} is outside a dataset of 10 items"):
        ds[index]


def test_iterating_ends(ds):
    assert [int(y) for _, y in ds] == Y.tolist()


def test_gather_equals_indexing_and_copies(ds):
    indices = torch.tensor([7, 7, 0])
    xb, yb = ds.gather(indices)
    assert torch.equal(xb, X[indices])
    assert torch.equal(yb, Y[indices])
    xb.zero_()
    assert X[7, 0] == 35


def test_arrays_are_shared_unless_read_only():
    array = np.zeros((3, 2), dtype=np.float32)
    assert Dataset(array, [0, 1, 2]).x.data_ptr() == array.ctypes.data
    frozen = np.frombuffer(bytes(3), dtype=np.uint8)  # torch would warn about this one
    assert Dataset(frozen, [0, 1, 2]).x.data_ptr() != frozen.ctypes.data


def test_unequal_lengths():
    with pytest.raises(ValueError, match="x and y must be equally long; got 10 and 9 items"):
        Dataset(X, Y[:9])


@pytest.mark.parametrize(("x", "y", "name"), [(1.0, [1], "x"), ([1], torch.tensor(1), "y")])
def test_zero_dimensions(x, y, name):
    with pytest.raises(ValueError, match=f"{name} must have one entry an item; got the single"):
        Dataset(x, y)


def test_repr(ds):
    assert repr(ds) == "Dataset(10 items, x (10, 5), y (10,))"

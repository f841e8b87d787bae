import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lehr.base import mapped
from lehr.data import DataLoader, Dataset

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


def test_a_mapped_file_is_not_copied(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X.numpy())
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    ds = Dataset(array, Y)
    assert ds.x.data_ptr() == array.ctypes.data
    indices = torch.tensor([7, 7, 0])
    for resident in (1 << 28, 0):
        monkeypatch.setattr(mapped, "RESIDENT", resident)
        xb, yb = Dataset(array, Y).gather(indices)
        assert torch.equal(xb, X[indices])
        assert torch.equal(yb, Y[indices])
        xb.zero_()  # it is a copy: to write to the file would end the process
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "x.npy")), X)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda ds: pickle.loads(pickle.dumps(ds))])
def test_a_copy_of_a_mapped_one(tmp_path, monkeypatch, again):
    monkeypatch.setattr(mapped, "RESIDENT", 0)
    np.save(tmp_path / "x.npy", X.numpy())
    ds = again(Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), Y))
    assert torch.equal(ds.gather(torch.tensor([7, 0]))[0], X[[7, 0]])


@pytest.mark.parametrize("index", [3, slice(0, 5), [3, 6], Y > 3])
def test_several_inputs(index):
    parts = {"ids": X, "more": (X + 1, X.numpy())}
    x, y = Dataset(parts, Y)[index]
    assert list(x) == ["ids", "more"]
    assert type(x["more"]) is tuple
    for got, whole in ((x["ids"], X), (x["more"][0], X + 1), (x["more"][1], X), (y, Y)):
        assert torch.equal(got, whole[index])
    assert torch.equal(Dataset((X, Y))[index][1], Y[index])


def test_batches_of_several_inputs():
    indices = torch.tensor([7, 7, 0])
    batch = Dataset({"ids": X, "labels": Y}).gather(indices)
    assert torch.equal(batch["ids"], X[indices])
    assert torch.equal(batch["labels"], Y[indices])
    (a, b), targets = Dataset((X, X + 1), {"one": Y}).gather(indices)
    assert torch.equal(a + 1, b)
    assert torch.equal(targets["one"], Y[indices])
    assert torch.equal(Dataset(X).gather(indices), X[indices])
    [batch] = DataLoader(Dataset({"ids": X, "labels": Y}), 10)
    assert torch.equal(batch["ids"], X)


def test_tuples_of_numbers_are_items():
    assert Dataset(((1.0, 2.0), (3.0, 4.0)), (0, 1)).x.shape == (2, 2)
    assert Dataset((1, 2), (0, 1)).x.shape == (2,)


def test_what_pandas_holds():
    column = SimpleNamespace(to_numpy=lambda: np.arange(3))
    assert Dataset({"age": column}, column)[1] == ({"age": 1}, 1)


def test_unequal_lengths():
    with pytest.raises(ValueError, match="x and y must be equally long; got 10 and 9 items"):
        Dataset(X, Y[:9])
    with pytest.raises(ValueError, match=r"x\['a'\] and x\['b'\]\[1\] must be .* 10 and 9 items"):
        Dataset({"a": X, "b": (X, X[:9])})


@pytest.mark.parametrize("nothing", [{}, {"a": ()}])
def test_no_tensor_at_all(nothing):
    with pytest.raises(ValueError, match=r"x must hold at least one tensor; got \{"):
        Dataset(nothing)


def swapped_bytes(folder):
    np.save(folder / "x.npy", np.zeros((2, 3), ">f4"))
    return np.load(folder / "x.npy", mmap_mode="r")


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (lambda _: {"a": [1, 2], "b": ["red", "blue"]}, r"x\['b'\] must .*; got list"),
        (lambda _: (np.zeros(2), np.array(["red", "blue"])), r"x\[1\] must .*; got <U4: .*[^.]\.$"),
        (lambda _: [[1], [2, 3]], "x must .*; got list"),
        (lambda _: None, "x must .*; got NoneType"),
        (swapped_bytes, "x must .*; got >f4"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(tmp_path, x, says):
    with pytest.raises(TypeError, match=says):
        Dataset(x(tmp_path), [0, 1])


@pytest.mark.parametrize(("x", "y", "name"), [(1.0, [1], "x"), ([1], torch.tensor(1), "y")])
def test_zero_dimensions(x, y, name):
    with pytest.raises(ValueError, match=f"{name} must have one entry an item; got the single"):
        Dataset(x, y)


def test_repr(ds):
    assert repr(ds) == "Dataset(10 items, x (10, 5), y (10,))"
    several = Dataset({"ids": X, "more": (X, Y)})
    assert repr(several) == "Dataset(10 items, x {ids: (10, 5), more: ((10, 5), (10,))})"


def test_a_mask_is_not_lost_in_silence():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(
        TypeError, match=r"x must be .* it is masked, .* Give array\.filled\(value\)"
    ):
        Dataset(masked)
    assert Dataset(masked.filled(0.0)).x.tolist() == [1.0, 0.0]

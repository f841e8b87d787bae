import copy
import gc
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lehr.base import mapped as module
from lehr.base.mapped import MappedRows, mapped_tensor, mapping_of


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(60, dtype=np.float32).reshape(10, 3, 2))
    return tmp_path / "a.npy"


@pytest.fixture
def from_the_file(monkeypatch):
    """Every file counts as large."""
    monkeypatch.setattr(module, "RESIDENT", 0)


def is_read(rows):
    return rows._file is not None


def test_what_is_mapped(path):
    array = np.load(path, mmap_mode="r")
    assert mapping_of(array) is mapping_of(array[2:]) is not None
    for other in (np.zeros(3), array[[1, 2]], torch.zeros(3), [1], None, open):
        assert mapping_of(other) is None


def test_a_tensor_shares_the_file(path):
    array = np.load(path, mmap_mode="r")
    assert mapped_tensor(array).data_ptr() == array.ctypes.data


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize(
    "part", [slice(None), slice(2, 9), slice(0, 10, 2), (slice(None), slice(1, 3)), (..., 0)]
)
@pytest.mark.parametrize("indices", [[3, 0, 3], [1, 2, 3], [0], []])
def test_rows_are_those_of_the_array(path, from_the_file, mode, part, indices):
    array = np.load(path, mmap_mode=mode)[part]
    rows = MappedRows(array).gather(torch.tensor(indices, dtype=torch.int64))
    assert torch.equal(rows, torch.tensor(np.array(array)[indices]))


def test_a_large_file_is_read_and_a_small_one_is_not(path, monkeypatch):
    array = np.load(path, mmap_mode="r")
    assert not is_read(MappedRows(array))
    monkeypatch.setattr(module, "RESIDENT", path.stat().st_size - 1)
    assert is_read(MappedRows(array))
    assert not is_read(MappedRows(np.load(path, mmap_mode="c")))  # a change would not be seen
    assert not is_read(MappedRows(array[..., 0]))  # a row is not in one piece


def test_what_was_changed_is_seen(path, from_the_file):
    shared, private = np.load(path, mmap_mode="r+"), np.load(path, mmap_mode="c")
    rows = MappedRows(shared), MappedRows(private)
    shared[4], private[4] = 1, 2
    assert [r.gather(torch.tensor([4])).unique().tolist() for r in rows] == [[1.0], [2.0]]


@pytest.mark.parametrize("wrong", [-1, 10])
def test_no_such_row(path, from_the_file, wrong):
    with pytest.raises(IndexError, match=f"indices must be from 0 to 9; got .*{wrong}"):
        MappedRows(np.load(path, mmap_mode="r")).gather(torch.tensor([0, wrong]))


def test_a_file_that_became_shorter(path, from_the_file):
    rows = MappedRows(np.load(path, mmap_mode="r"))
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(OSError, match=rf"{re.escape(str(path))} ends 10 bytes too early"):
        rows.gather(torch.tensor([0, 9]))


def test_the_file_is_closed(path, from_the_file):
    def opened():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    array = np.load(path, mmap_mode="r")
    before = opened()
    rows = MappedRows(array)
    assert opened() == before + 1
    del rows
    assert opened() == before


@pytest.mark.parametrize("again", [copy.deepcopy, lambda rows: pickle.loads(pickle.dumps(rows))])
def test_a_copy_is_in_memory(path, from_the_file, again):
    rows = MappedRows(np.load(path, mmap_mode="r"))
    other = again(rows)
    assert is_read(rows)
    assert not is_read(other)
    assert torch.equal(*(r.gather(torch.tensor([7, 2])) for r in (rows, other)))


def test_numbers_that_torch_does_not_have(tmp_path):
    np.save(tmp_path / "b.npy", np.array(["a", "b"]))
    with pytest.raises(TypeError, match=r"can.t convert np\.ndarray of type"):
        MappedRows(np.load(tmp_path / "b.npy", mmap_mode="r"))

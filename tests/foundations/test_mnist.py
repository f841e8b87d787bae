"""The digits are those that the library reads."""

import gzip

import pytest
import torch

from lehr import data
from lehr.foundations.mnist import get_data, read_idx


@pytest.mark.slow
def test_the_digits_are_those_that_the_library_reads():
    """50,000 and 10,000 rows of 784 pixels, equal bit for bit to `lehr.data.mnist` without
    normalisation; the first labels are the published ones."""
    try:
        x_train, y_train, x_valid, y_valid = get_data()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert (x_train.shape, x_valid.shape) == ((50_000, 784), (10_000, 784))
    assert (y_train[:5].tolist(), y_valid[0]) == ([5, 0, 4, 1, 9], 3)
    bunch = data.mnist(64, normalize=False, flat=True)
    for ours, theirs in zip((x_train, y_train), bunch.train_ds[:], strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip((x_valid, y_valid), bunch.valid_ds[:], strict=True):
        assert torch.equal(ours, theirs)
    normalised, _ = data.mnist(64, normalize=True, flat=True).valid_ds[:]
    assert not torch.equal(x_valid, normalised)


def packed(*shape, code=8):
    head = bytes([0, 0, code, len(shape), *(byte for n in shape for byte in n.to_bytes(4, "big"))])
    return gzip.compress(head + bytes(range(torch.Size(shape).numel())))


def test_a_file_has_its_shape_before_its_bytes(tmp_path):
    (tmp_path / "file.gz").write_bytes(packed(2, 3))
    assert read_idx(tmp_path / "file.gz").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "file.gz").write_bytes(packed(2, 3, code=13))
    with pytest.raises(ValueError, match=r"path must be an IDX file of bytes; got .*file.gz"):
        read_idx(tmp_path / "file.gz")


@pytest.mark.parametrize("inside", ["mnist", "."])
def test_files_are_found_in_the_folder_or_in_mnist(tmp_path, monkeypatch, inside):
    """The folder is the one that is passed, else the one that LEHR_DATA names."""
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(packed(3, 1, 2))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(packed(3))
    monkeypatch.setenv("LEHR_DATA", str(tmp_path))
    for found in (get_data(tmp_path), get_data()):
        x, y, x_valid, y_valid = found
        assert torch.equal(x, torch.tensor([[0, 1], [2, 3], [4, 5]]) / 255)
        assert (y.tolist(), len(x_valid), len(y_valid)) == ([0, 1, 2], 0, 0)


def test_a_folder_without_the_files_is_refused_with_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root must have train-images-idx3-ubyte.gz") as e:
        get_data(tmp_path)
    assert "https://" in str(e.value)

import os

import pytest
import torch

from lehr.data import mnist
from lehr.data.load_mnist import read_mnist


def idx(*shape):
    size = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return size + bytes(i % 256 for i in range(torch.Size(shape).numel()))


@pytest.fixture(params=["mnist", "MNIST/raw", "."])
def root(request, tmp_path):
    folder = tmp_path / request.param
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(10, 2, 2))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(10))
    return tmp_path


def test_layouts_and_environment(root, monkeypatch):
    assert read_mnist(root)[1].tolist() == list(range(10))
    monkeypatch.setenv("LEHR_DATA", str(root))
    bunch = mnist(batch_size=2, valid_items=4, flat=True)
    assert bunch.train_ds.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert bunch.valid_ds.y.tolist() == [6, 7, 8, 9]
    assert bunch.train_ds.x.shape == (6, 4)


def test_normalize(root):
    bunch = mnist(root=root, valid_items=4, normalize=True)
    assert abs(bunch.train_ds.x.mean()) < 1e-6
    assert abs(bunch.train_ds.x.std() - 1) < 1e-6


@pytest.mark.parametrize("valid_items", [0, 10, -1])
def test_an_empty_part(root, valid_items):
    with pytest.raises(ValueError, match=f"valid_items must leave .* got {valid_items} of 10"):
        mnist(root=root, valid_items=valid_items)


def test_files_that_do_not_belong_together(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(10, 2, 2))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(9))
    with pytest.raises(ValueError, match=r"got shapes \(10, 2, 2\) and \(9,\)"):
        mnist(root=tmp_path)


def test_no_folder_named(monkeypatch):
    monkeypatch.delenv("LEHR_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="Set the environment variable LEHR_DATA, or pass"):
        mnist()


def test_no_files_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be in one of") as caught:
        mnist(root=tmp_path)
    assert str(tmp_path / "mnist") in str(caught.value)


@pytest.fixture(scope="module")
def bunch():
    return mnist(batch_size=64)


@pytest.mark.slow
@pytest.mark.skipif(
    "LEHR_DATA" not in os.environ, reason="LEHR_DATA names no folder of MNIST files"
)
class TestTheRealFiles:
    def test_sizes(self, bunch):
        assert (len(bunch.train_ds), len(bunch.valid_ds)) == (50_000, 10_000)
        assert (len(bunch.train_dl), len(bunch.valid_dl), bunch.c) == (782, 79, 10)
        assert type(bunch.c) is int

    def test_first_labels(self, bunch):
        assert bunch.train_ds[0:5][1].tolist() == [5, 0, 4, 1, 9]
        xb, yb = next(iter(bunch.valid_dl))
        assert (xb.shape, yb.shape, int(yb[0])) == ((128, 1, 28, 28), (128,), 3)

    def test_pixels(self, bunch):
        x = bunch.train_ds.x
        assert (x.min(), x.max(), x.dtype) == (0, 1, torch.float32)
        # the file that the lesson reads is divided by 256, hence its 0.1304 and 0.3073
        assert round(float(x.mean()) * 255 / 256, 4) == 0.1304
        assert round(float(x.std()) * 255 / 256, 4) == 0.3073

    def test_all_validation_items_in_order(self, bunch):
        assert torch.equal(torch.cat([yb for _, yb in bunch.valid_dl]), bunch.valid_ds.y)

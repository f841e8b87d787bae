import gzip
import os

import pytest
import torch

from lehr.data import Images, fashion_mnist, mnist
from lehr.data.published.mnist import FASHION, MNIST, read_mnist
from lehr.data.published.published import Published


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


def test_half_an_image():
    with pytest.raises(TypeError, match=r"valid_items must be an int; got 2\.5"):
        mnist(valid_items=2.5)


def test_files_that_do_not_belong_together(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(10, 2, 2))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(9))
    with pytest.raises(ValueError, match=r"got shapes \(10, 2, 2\) and \(9,\)"):
        mnist(root=tmp_path)


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """Downloads are looked for in a folder instead of the network; returns what was asked for."""
    asked = []

    def download(self, file):
        asked.append((self.name, file))
        return tmp_path / "web" / self.name / file

    monkeypatch.setattr(Published, "download", download)
    monkeypatch.delenv("LEHR_DATA", raising=False)
    return asked


def test_what_is_nowhere_is_downloaded(downloaded, tmp_path, monkeypatch):
    folder = tmp_path / "web" / "fashion_mnist"
    folder.mkdir(parents=True)
    for name, content in (("images-idx3", idx(10, 2, 2)), ("labels-idx1", idx(10))):
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    monkeypatch.setenv("LEHR_DATA", str(tmp_path))  # a folder of other things
    bunch = fashion_mnist(valid_items=4)
    assert (len(bunch.train_ds), bunch.c, bunch.classes[9]) == (6, 10, "ankle boot")
    names = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert downloaded == [("fashion_mnist", name) for name in names]


def test_a_folder_named_as_root_is_the_only_one(downloaded, tmp_path):
    with pytest.raises(FileNotFoundError, match="must be in one of"):
        fashion_mnist(root=tmp_path)
    assert not downloaded


def test_every_file_has_its_checksum():
    for published in (MNIST, FASHION):
        assert [name.split("-")[0] for name in published.md5] == ["train"] * 2 + ["t10k"] * 2
        assert all(len(checksum) == 32 for checksum in published.md5.values())
    assert not set(MNIST.md5.values()) & set(FASHION.md5.values())


def test_the_test_images(root):
    place = next(root.rglob("train-images-idx3-ubyte")).parent
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte or"):
        mnist(root=root, split="test")
    (place / "t10k-images-idx3-ubyte").write_bytes(idx(3, 2, 2))
    (place / "t10k-labels-idx1-ubyte").write_bytes(idx(3))
    bunch = mnist(root=root, split="test")
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (10, 3)
    with pytest.raises(ValueError, match="split must be one of valid, test, all; got 'tset'"):
        mnist(root=root, split="tset")
    first = mnist(root=root, valid_items=4, normalize=True).preparation
    every = mnist(root=root, split="all", preparation=first)
    test = mnist(root=root, split="test", preparation=first)
    assert torch.equal(every.valid_ds.x, torch.cat([test.train_ds.x, test.valid_ds.x]))
    assert torch.equal(every.valid_ds.y, torch.cat([test.train_ds.y, test.valid_ds.y]))
    assert (len(every.train_ds), len(every.valid_ds)) == (13, 13)
    with pytest.raises(ValueError, match="split='all' divides nothing"):
        mnist(root=root, split="all")


def test_its_preparation(root):
    bunch = mnist(root=root, valid_items=4)
    assert (bunch.preparation.mean, bunch.preparation.std) == ((0.0,), (1.0,))
    assert bunch.classes == tuple("0123456789")
    grown = mnist(root=root, valid_items=4, size=5, augment="flip", normalize=True)
    assert isinstance(grown.train_ds, Images)
    assert grown.train_ds[0][0].shape == grown.valid_ds.x[0].shape == (1, 5, 5)
    again = mnist(root=root, valid_items=4, preparation=grown.preparation)
    assert torch.equal(again.valid_ds.x, grown.valid_ds.x)
    assert not torch.equal(again.valid_ds.x, mnist(root=root, valid_items=4, size=5).valid_ds.x)


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

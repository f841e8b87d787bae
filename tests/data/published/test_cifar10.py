import gzip
import io
import os
import shutil
import tarfile

import pytest
import torch

from lehr.data import Dataset, Images, cifar10
from lehr.data.images.decode import to_image
from lehr.data.published.cifar10 import ARCHIVE, CLASSES, last_of_each, read_cifar10
from lehr.data.published.published import Published


def records(n, first=0):
    """Every label in turn; all pixels of an image are its number, but green is one more."""
    rows = []
    for i in range(first, first + n):
        rows += [bytes([i % 10]), bytes([i]) * 1024, bytes([i + 1]) * 1024, bytes([i]) * 1024]
    return b"".join(rows)


def write_archive(folder, members):
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


MEMBERS = {f"data_batch_{i}.bin": records(10, 10 * i) for i in (5, 4, 3, 2, 1)}
MEMBERS |= {"test_batch.bin": records(10, 100), "readme.html": b"hello"}


@pytest.fixture
def root(tmp_path):
    write_archive(tmp_path / "cifar10", MEMBERS)
    return tmp_path


def test_the_published_archive(root):
    (images, labels), (test_images, test_labels) = read_cifar10(root, ("train", "test"))
    assert images.shape == (50, 3, 32, 32)
    assert images[:, :, 5, 7].tolist() == [[i, i + 1, i] for i in range(10, 60)]
    assert labels.tolist() == [i % 10 for i in range(50)]
    assert labels.dtype == torch.int64
    assert (test_images[0, 0, 0, 0], test_labels.tolist()) == (100, list(range(10)))
    assert sorted(path.name for path in (root / "cifar10").iterdir()) == [ARCHIVE]


def test_the_split_takes_the_last_of_each_class(root):
    bunch = cifar10(8, root=root, valid_items=20, normalize=False)
    assert bunch.valid_ds.y.bincount().tolist() == [2] * 10
    assert bunch.valid_ds.x[:, 0, 0, 0].mul(255).round().tolist() == list(range(40, 60))
    assert bunch.train_ds.x[:, 0, 0, 0].mul(255).round().tolist() == list(range(10, 40))
    assert bunch.classes == CLASSES
    assert isinstance(cifar10(root=root, valid_items=10, augment="flip").train_ds, Images)


def test_the_test_images(root):
    bunch = cifar10(8, root=root, split="test", flat=True, size=16)
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (50, 10)
    assert bunch.train_ds.x.shape == (50, 3 * 16 * 16)


def write_images(folder, n=2):
    for c, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = torch.full((3, 32, 32), 20 * c + i, dtype=torch.uint8)
            to_image(pixels).save(folder / name / f"{i}.png")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_in_folders(tmp_path, form):
    write_images(tmp_path / "cifar10" / "train")
    if form == "zip":
        shutil.make_archive(
            str(tmp_path / "cifar10" / "train"), "zip", tmp_path / "cifar10", "train"
        )
        shutil.rmtree(tmp_path / "cifar10" / "train")
    bunch = cifar10(root=tmp_path, valid_items=10, normalize=False)
    assert type(bunch.train_ds) is Dataset
    assert bunch.train_ds.x[:, 0, 0, 0].mul(255).round().tolist() == list(range(0, 200, 20))
    assert bunch.valid_ds.x[:, 0, 0, 0].mul(255).round().tolist() == list(range(1, 200, 20))
    with pytest.raises(FileNotFoundError, match=r"train\.zip with test\.zip or .* must be in"):
        cifar10(root=tmp_path, split="test")
    write_archive(tmp_path / "cifar10", MEMBERS)  # both parts come from one source
    assert len(cifar10(root=tmp_path, split="test").train_ds) == 50


def test_images_of_other_classes(tmp_path):
    write_images(tmp_path / "cifar10" / "train")
    (tmp_path / "cifar10" / "train" / "bird").rename(tmp_path / "cifar10" / "train" / "birds")
    with pytest.raises(ValueError, match=r"train must have the classes airplane, .*; got .*birds"):
        cifar10(root=tmp_path)


def test_what_is_nowhere_is_downloaded(root, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LEHR_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(Published, "download", lambda self, file: root / "cifar10" / file)
    assert len(cifar10(valid_items=10).train_ds) == 40


def test_nothing_below_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"train\.zip or folders .* or {ARCHIVE} must be"):
        cifar10(root=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_batch_3.bin": b"short"}, r"data_batch_3\.bin must hold records of 3073 .* got 5"),
        ({"data_batch_3.bin": b""}, "must hold records of 3073 bytes; got 0 bytes"),
        ({"data_batch_3.bin": b"\x0b" * 3073}, "must hold labels from 0 to 9; got 11"),
        ({"data_batch_3.bin": None, "data_batch_4.bin": None}, "lacks data_batch_3.bin, data_ba"),
    ],
)
def test_a_damaged_archive(tmp_path, change, message):
    members = {name: content for name, content in (MEMBERS | change).items() if content is not None}
    write_archive(tmp_path / "cifar10", members)
    with pytest.raises(ValueError, match=message):
        cifar10(root=tmp_path)


def test_a_cut_archive(root):
    file = root / "cifar10" / ARCHIVE
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"must be a whole tar\.gz; reading it says"):
        cifar10(root=root)


@pytest.mark.parametrize("place", range(15, 0, -1))
def test_flipped_bytes(root, place):
    file = root / "cifar10" / ARCHIVE
    content = bytearray(gzip.compress(gzip.decompress(file.read_bytes()), 0))  # no byte to spare
    position = len(content) * place // 16  # also beyond the last image
    content[position] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="Fetch the file again"):
        cifar10(root=root, valid_items=10)


def test_damage_that_parses(root):
    """Stored without compression, every pixel can be changed and the archive still be a tar."""
    file = root / "cifar10" / ARCHIVE
    plain = gzip.decompress(file.read_bytes())
    whole = gzip.compress(plain, 0)
    file.write_bytes(whole)
    assert len(cifar10(root=root, valid_items=10).train_ds) == 40
    pixels = whole.index(bytes([12]) * 1024)
    file.write_bytes(whole[: pixels + 9] + b"\xff" + whole[pixels + 10 :])
    with pytest.raises(ValueError, match=r"whole tar\.gz; reading it says: CRC check failed"):
        cifar10(root=root, valid_items=10)


def test_every_image(root):
    first = cifar10(root=root, valid_items=10).preparation
    bunch = cifar10(root=root, split="all", preparation=first, augment="flip")
    assert torch.equal(bunch.valid_ds.y, torch.arange(60) % 10)
    numbers = first.picture(bunch.valid_ds.x[50]).unique().tolist()
    assert numbers == [100, 101]  # the first test image comes after all training images
    assert isinstance(bunch.valid_ds, Dataset)
    assert len(bunch.train_ds) == 60
    with pytest.raises(ValueError, match="split='all' divides nothing"):
        cifar10(root=root, split="all")


@pytest.mark.parametrize("n", [5, 50, 60, 0])
def test_validation_in_equal_shares(n):
    with pytest.raises(ValueError, match=f"valid_items must be .*got {n}"):
        last_of_each(torch.arange(50) % 10, n)
    assert len(last_of_each(torch.arange(50) % 10, 40)[0]) == 10


def test_a_wrong_split(root):
    with pytest.raises(ValueError, match="split must be one of valid, test, all; got 'train'"):
        cifar10(root=root, split="train")


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.skipif("LEHR_DATA" not in os.environ, reason="LEHR_DATA names no folder of CIFAR-10")
def test_the_real_images():
    bunch = cifar10(100, augment="flip+shift", num_workers=2)
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (45_000, 5_000)
    assert bunch.valid_ds.y.bincount().tolist() == [500] * 10
    assert bunch.train_ds.y.bincount().tolist() == [4500] * 10
    # published widely: means 0.4914, 0.4822, 0.4465 over all 50,000 images
    expected = torch.tensor([0.4914, 0.4822, 0.4465])
    assert torch.allclose(torch.tensor(bunch.preparation.mean), expected, atol=2e-3)
    xb, yb = next(bunch.train_dl.batches(0, 0))
    assert (xb.shape, xb.dtype, yb.shape) == ((100, 3, 32, 32), torch.float32, (100,))


@pytest.mark.parametrize("where", ["a part", "a header"])
def test_an_archive_that_unpacks_to_more_than_the_set_is_refused(tmp_path, where):
    (tmp_path / "cifar10").mkdir()
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = 31_000_000
    if where == "a header":
        member.type = tarfile.XHDTYPE
    with gzip.open(tmp_path / "cifar10" / ARCHIVE, "wb", compresslevel=1) as file:
        file.write(member.tobuf() + bytes(member.size + 512))
    with pytest.raises(ValueError, match=r"it holds something larger than the 30,730,000 bytes"):
        read_cifar10(tmp_path)

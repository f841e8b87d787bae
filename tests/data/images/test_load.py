import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from lehr.data import Dataset, ImagePreparation, Images, image_folder
from lehr.data.images import load as module
from lehr.data.images.decode import BrokenImage


def make(root, size=(12, 10), n=20, classes=("blue", "red"), mode="RGB"):
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            colour = (5 * i, 255 * (c == 1), 255 * (c == 0)) if mode == "RGB" else 100 * c + 5 * i
            Image.new(mode, size, colour).save(root / name / f"{i:02}.png")
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "photos")


def zipped(root):
    return shutil.make_archive(str(root), "zip", root)


@pytest.mark.parametrize("form", [str, zipped])
@pytest.mark.parametrize("in_memory", [None, False])
def test_a_folder_or_a_zip_in_memory_or_not(root, form, in_memory):
    bunch = image_folder(form(root), 8, in_memory=in_memory, normalize=False)
    assert (len(bunch.train_ds), len(bunch.valid_ds), bunch.c) == (32, 8, 2)
    assert bunch.classes == ("blue", "red")
    assert type(bunch.train_ds) is (Dataset if in_memory is None else Images)
    assert bunch.preparation.item_shape == (3, 10, 12)
    for xb, yb in bunch.train_dl.batches(0, 0):
        assert torch.equal(xb[:, 1, 0, 0], (yb == 1).float())
        assert torch.equal(xb[:, 2, 3, 3], (yb == 0).float())


def test_in_memory_and_not_give_the_same_batches(root):
    held, read = (image_folder(root, 8, in_memory=choice, augment="shift") for choice in (1, 0))
    assert held.preparation == read.preparation
    pairs = list(zip(held.train_dl.batches(1, 0), read.train_dl.batches(1, 0), strict=True))
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)
    assert torch.equal(held.valid_ds[:][0], read.valid_ds[:][0])


def test_normalized_over_the_training_images(root):
    x = image_folder(root).train_ds.x
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    plain = image_folder(root, normalize=False)
    assert (plain.train_ds.x.min(), plain.train_ds.x.max()) == (0, 1)


def test_what_takes_too_much_memory_stays_in_files(root, monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 40 * 3 * 120 - 1)
    assert repr(image_folder(root).train_ds).startswith("Images(32 in files")
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 40 * 3 * 120)
    assert isinstance(image_folder(root).train_ds, Dataset)
    assert repr(image_folder(root, in_memory=False).train_ds).startswith("Images(32 in files")


def test_a_sample_is_measured_where_files_are_many(root, monkeypatch):
    monkeypatch.setattr(module, "_MEASURED", 5)
    sampled = [image_folder(root, in_memory=False).preparation for _ in range(2)]
    assert sampled[0] == sampled[1]
    assert sampled[0].mean != image_folder(root).preparation.mean


@pytest.mark.slow
@pytest.mark.parametrize("in_memory", [True, False])
def test_workers_give_the_same(root, in_memory):
    def batches(workers, epoch=0):
        bunch = image_folder(
            zipped(root), 8, in_memory=in_memory, augment="flip+shift", num_workers=workers
        )
        return [xb for xb, _ in bunch.train_dl.batches(1, epoch)]

    here = batches(0)
    assert all(map(torch.equal, batches(2), here))
    assert not torch.equal(batches(2, 1)[0], here[0])


def test_grey_images_have_one_channel(tmp_path):
    assert image_folder(make(tmp_path / "a", mode="L")).preparation.mode == "L"
    grey = make(tmp_path / "b", mode="L")
    for file in grey.rglob("*.png"):
        Image.open(file).convert("RGB").save(file)  # three equal channels
    assert image_folder(grey).preparation.mode == "L"
    Image.new("RGB", (12, 10), (0, 0, 1)).save(grey / "red" / "00.png")
    assert image_folder(grey).preparation.mode == "RGB"


def test_sizes(root, tmp_path):
    def size(path, **options):
        return image_folder(path, **options).preparation.size

    assert size(root) == (10, 12)
    assert size(root, size=7) == (7, 7)
    assert size(root, size=(7, 9)) == (7, 9)
    assert size(make(tmp_path / "large", (129, 10), 3)) == (128, 128)
    Image.new("RGB", (13, 10)).save(root / "red" / "00.png")
    assert size(root) == (128, 128)
    assert image_folder(root, size=4, resize="squish").preparation.resize == "squish"


def test_given_splits(tmp_path):
    for split, n in (("train", 6), ("val", 3), ("test", 2)):
        make(tmp_path / split, n=n)
    bunch = image_folder(tmp_path)
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (12, 6)
    bunch = image_folder(tmp_path, split="test")
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (18, 4)


def test_a_test_folder_alone_leaves_validation_to_chance(tmp_path):
    make(tmp_path / "train", n=10)
    make(tmp_path / "test", n=2)
    bunch = image_folder(tmp_path, valid_share=0.3)
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (14, 6)
    other = image_folder(tmp_path, valid_share=0.3, split_seed=1)
    assert not torch.equal(bunch.valid_ds.x, other.valid_ds.x)
    assert torch.equal(bunch.valid_ds.x, image_folder(tmp_path, valid_share=0.3, seed=4).valid_ds.x)


def test_no_test_folder(root):
    with pytest.raises(ValueError, match=r"split='test' needs a folder test/ .* has train/ only"):
        image_folder(root, split="test")


def test_splits_of_different_classes(tmp_path):
    make(tmp_path / "train")
    make(tmp_path / "valid", classes=("blue", "rde"))
    with pytest.raises(ValueError, match=r"train/ and valid/ must have the same classes; red is"):
        image_folder(tmp_path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_broken_files(root, in_memory):
    for name in ("blue/03.png", "red/07.png", "red/08.png"):
        (root / name).write_bytes(b"broken")
    hint = r"0\d\.png cannot be decoded.*Replace or remove the file\. Or give skip_broken=True"
    with pytest.raises(BrokenImage, match=hint):
        image_folder(root)
    with pytest.warns(UserWarning, match=r"3 of 40 images cannot be decoded .*03\.png") as caught:
        bunch = image_folder(root, skip_broken=True, in_memory=in_memory)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert len(bunch.train_ds) + len(bunch.valid_ds) == 37
    n = sum(len(yb) for dl in (bunch.train_dl, bunch.valid_dl) for _, yb in dl.batches(0, 0))
    assert n == 37


def test_nothing_but_broken_files(root):
    for file in root.rglob("*.png"):
        file.write_bytes(b"broken")
    with pytest.raises(BrokenImage, match="none of 32 images looked at can be decoded") as caught:
        image_folder(root, skip_broken=True)
    assert "skip_broken" not in str(caught.value)


def test_a_preparation_of_an_earlier_run(root, tmp_path):
    earlier = ImagePreparation(("green", "red", "blue"), "L", (5, 5), "squish", (0.3,), (0.2,))
    bunch = image_folder(root, preparation=earlier)
    assert bunch.preparation is earlier
    assert bunch.train_ds.x.shape == (32, 1, 5, 5)
    assert set(bunch.train_ds.y.tolist()) == {1, 2}
    assert bunch.c == 3
    with pytest.raises(ValueError, match=r"does not know: pink. The data have blue, pink, red"):
        image_folder(make(root, classes=("pink",)), preparation=earlier)
    with pytest.raises(ValueError, match="size=6 is not the preparation's"):
        image_folder(root, preparation=earlier, size=6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "train"}, ValueError, "split must be one of valid, test, all; got 'train'"),
        ({"resize": "stretch"}, ValueError, "resize must be one of crop, squish"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"augment": "flop"}, ValueError, "Did you mean flip"),
        ({"valid_share": 1.0}, ValueError, "valid_share must leave items to both parts"),
        ({"valid_share": "20%"}, TypeError, "valid_share must be a real number; got '20%'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0"),
        ({"in_memory": "no"}, TypeError, "in_memory must be a bool or None; got 'no'"),
        ({"preparation": {}}, TypeError, "preparation must be an ImagePreparation"),
    ],
)
def test_wrong_arguments(root, options, error, message):
    with pytest.raises(error, match=message):
        image_folder(root, **options)


def test_flat(root):
    assert image_folder(root, flat=True).train_ds.x.shape == (32, 360)


@pytest.mark.slow
@pytest.mark.skipif("LEHR_DATA" not in os.environ, reason="LEHR_DATA names no folder")
def test_a_real_zip_is_opened_without_unpacking(tmp_path):
    source = Path(os.environ["LEHR_DATA"], "cifar10", "train.zip")
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(("00.jpg", "50.jpg"))]
        with zipfile.ZipFile(tmp_path / "some.zip", "w") as some:
            for name in names:
                some.writestr(name, archive.read(name))
    bunch = image_folder(tmp_path / "some.zip")
    assert (bunch.c, bunch.preparation.item_shape) == (10, (3, 32, 32))
    assert len(bunch.train_ds) == 0.8 * len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["some.zip"]


@pytest.mark.parametrize("form", [str, zipped])
@pytest.mark.parametrize("in_memory", [True, False])
def test_every_image(tmp_path, form, in_memory):
    root = tmp_path / "photos"
    for split, n in (("train", 6), ("val", 3), ("test", 2)):
        make(root / split, n=n)
    first = image_folder(root).preparation
    bunch = image_folder(
        form(root), 4, split="all", preparation=first, augment="flip", in_memory=in_memory
    )
    assert torch.cat([y for _, y in bunch.valid_dl]).tolist() == (
        [0] * 6 + [1] * 6 + [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2
    )
    greys = [first.picture(x)[0, 0, 0].item() // 5 for xb, _ in bunch.valid_dl for x in xb]
    assert greys == [*range(6), *range(6), *range(3), *range(3), *range(2), *range(2)]
    assert len(bunch.train_ds) == 22
    with pytest.raises(ValueError, match="split='all' divides nothing"):
        image_folder(root, split="all")


def test_every_image_of_one_class(root, tmp_path):
    first = image_folder(root).preparation
    lone = make(tmp_path / "lone", classes=("red",), n=1)
    bunch = image_folder(lone, split="all", preparation=first)
    assert bunch.valid_ds.y.tolist() == [1]
    assert bunch.valid_ds is bunch.train_ds
    with pytest.raises(ValueError, match="has only one class: 1 images in red/"):
        image_folder(lone, preparation=first)
    with pytest.raises(ValueError, match="does not know: pink"):
        image_folder(make(tmp_path / "other", classes=("pink",)), split="all", preparation=first)


def test_splits_that_differ_are_evaluated_together(root, tmp_path):
    first = image_folder(root).preparation
    make(tmp_path / "two" / "train", n=2)
    make(tmp_path / "two" / "test", n=1, classes=("red",))
    bunch = image_folder(tmp_path / "two", split="all", preparation=first)
    assert bunch.valid_ds.y.tolist() == [0, 0, 1, 1, 1]
    (root / "red" / "07.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="1 of 40 images cannot be decoded"):
        bunch = image_folder(root, split="all", preparation=first, skip_broken=True)
    assert len(bunch.valid_ds) == 39


@pytest.mark.timeout(60)
def test_a_pipe_among_the_images_is_refused_or_left_out(root):
    os.mkfifo(root / "red" / "pipe.png")
    (root / "blue" / "null.png").symlink_to(os.devnull)
    with pytest.raises(BrokenImage, match=r"must be a plain file; it is a .*skip_broken=True"):
        image_folder(root)
    with pytest.warns(UserWarning, match=r"2 of 42 images cannot .*it is a named pipe"):
        bunch = image_folder(root, skip_broken=True)
    assert len(bunch.train_ds) + len(bunch.valid_ds) == 40

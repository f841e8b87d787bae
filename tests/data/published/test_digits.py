from importlib import resources

import pytest
import torch

from lehr.data import Dataset, Images, digits
from lehr.data.published.digits import read_digits


def test_the_published_numbers():
    images, labels = read_digits()
    assert images.shape == (1797, 8, 8)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert (int(images.min()), int(images.max())) == (0, 16)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_the_bunch():
    bunch = digits(batch_size=32)
    xb, yb = next(iter(bunch.train_dl))
    assert (xb.shape, xb.dtype, yb.dtype, bunch.c) == (
        (32, 1, 8, 8),
        torch.float32,
        torch.int64,
        10,
    )
    x = bunch.train_ds.x
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5
    assert bunch.valid_ds.x.mean() != 0
    assert bunch.valid_dl.batch_size == 64


def test_its_options():
    bunch = digits(normalize=False, flat=True, valid_share=0.5, drop_last=True, seed=3)
    x = bunch.train_ds.x
    assert x.shape == (898, 64) or x.shape == (899, 64)
    assert (x.min(), x.max()) == (0, 1)
    assert len(bunch.train_dl) == 14
    assert torch.equal(next(iter(bunch.train_dl))[1], next(bunch.train_dl.batches(9, 0))[1])


def test_the_split_is_decided_by_its_seed():
    assert torch.equal(digits().valid_ds.y, digits(seed=5).valid_ds.y)
    assert not torch.equal(digits().valid_ds.y, digits(split_seed=1).valid_ds.y)


def test_its_preparation():
    bunch = digits()
    assert bunch.classes == tuple("0123456789")
    images, _ = read_digits()
    shown = bunch.preparation.picture(bunch.valid_ds.x[0])
    assert shown.shape == (8, 8, 3)
    exact = bunch.preparation(images[:, None], white=16)
    assert (exact == bunch.valid_ds.x[0]).flatten(1).all(1).sum() >= 1
    assert int(shown.max()) in (239, 255)  # 15 or 16 of 16
    again = digits(preparation=bunch.preparation, normalize=False)
    assert torch.equal(again.train_ds.x, bunch.train_ds.x)
    assert digits(normalize=False).preparation.std == (1.0,)


def test_a_share_that_is_no_number():
    with pytest.raises(TypeError, match="valid_share must be a real number; got '20%'"):
        digits(valid_share="20%")


def test_augmented_and_grown():
    bunch = digits(augment="shift", size=12)
    assert isinstance(bunch.train_ds, Images)
    assert bunch.train_ds[0][0].shape == (1, 12, 12)
    first, again, later = (next(bunch.train_dl.batches(0, epoch))[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert type(bunch.valid_ds) is Dataset
    assert 0.9 < digits(size=12, normalize=False).train_ds.x.max() <= 1


def test_the_licence_comes_along():
    text = (resources.files("lehr.data") / "digits.LICENSE.txt").read_text()
    assert "10.24432/C50P49" in text
    assert "CC BY 4.0" in text


def test_every_image():
    first = digits(valid_share=0.5).preparation
    bunch = digits(split="all", preparation=first)
    assert torch.equal(bunch.valid_ds.y, read_digits()[1])
    assert len(bunch.train_ds) == 1797
    with pytest.raises(ValueError, match="split='all' divides nothing"):
        digits(split="all")
    with pytest.raises(ValueError, match="split must be one of valid, all; got 'test'"):
        digits(split="test")

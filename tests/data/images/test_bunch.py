import pytest
import torch

from lehr.data import Dataset, ImagePreparation, Images
from lehr.data.images import bunch as module
from lehr.data.images.bunch import fitted, given_preparation, pixel_bunch, relabel

PIXELS = torch.randint(
    0, 256, (30, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
TRAIN, VALID = (PIXELS[:20], torch.arange(20) % 3), (PIXELS[20:], torch.arange(10) % 3)
NAMES = ("a", "b", "c")


def test_floats_in_memory_on_the_scale_of_the_training_part():
    bunch = pixel_bunch(TRAIN, VALID, NAMES, 8, normalize=True)
    assert type(bunch.train_ds) is type(bunch.valid_ds) is Dataset
    x = bunch.train_ds.x
    assert abs(float(x.mean())) < 1e-5
    assert abs(float(x.std()) - 1) < 1e-5
    expected = (PIXELS[20:] / 255 - TRAIN[0].float().mean() / 255) / (TRAIN[0] / 255).std()
    assert torch.allclose(bunch.valid_ds.x, expected, atol=1e-4)
    assert (bunch.c, bunch.classes) == (3, NAMES)
    assert torch.equal(bunch.preparation(TRAIN[0]), x)


def test_on_a_scale_of_its_own_grey_is_the_same_in_each_channel():
    scale = ((0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    bunch = pixel_bunch(TRAIN, VALID, NAMES, 8, normalize=scale)
    assert (bunch.preparation.mode, bunch.preparation.mean) == ("RGB", scale[0])
    x = bunch.valid_ds.x
    assert x.shape == (10, 3, 6, 6)
    for channel, (mean, std) in enumerate(zip(*scale, strict=True)):
        assert torch.allclose(x[:, channel] * std + mean, PIXELS[20:, 0] / 255, atol=1e-6)


def test_only_training_is_augmented():
    bunch = pixel_bunch(TRAIN, VALID, NAMES, 8, augment="flip")
    assert isinstance(bunch.train_ds, Images)
    assert bunch.train_ds.augment == "flip"
    assert isinstance(bunch.valid_ds, Dataset)
    assert torch.equal(bunch.valid_ds.x, PIXELS[20:] / 255)


def test_large_parts_are_kept_as_bytes(monkeypatch):
    monkeypatch.setattr(module, "PREPARED_BYTES", 4 * 15 * 36)
    bunch = pixel_bunch(TRAIN, VALID, NAMES, 8, normalize=True)
    assert isinstance(bunch.train_ds, Images)
    assert isinstance(bunch.valid_ds, Dataset)
    monkeypatch.undo()
    prepared = pixel_bunch(TRAIN, VALID, NAMES, 8, normalize=True)
    for one, other in zip(
        bunch.train_dl.batches(3, 1), prepared.train_dl.batches(3, 1), strict=True
    ):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_another_size_and_white():
    pixels = PIXELS // 16
    bunch = pixel_bunch((pixels, TRAIN[1].new_zeros(30)), VALID, NAMES, 8, size=(3, 9), white=15)
    assert bunch.train_ds.x.shape == (30, 1, 3, 9)
    assert bunch.preparation.size == (3, 9)
    assert 0.9 < float(bunch.train_ds.x.max()) <= 1
    assert (
        pixel_bunch((pixels, pixels[:, 0, 0, 0]), VALID, NAMES, 8, white=15).train_ds.x.max() == 1
    )


def test_another_mode():
    colour = fitted(PIXELS, ImagePreparation(("a",), "RGB", (6, 6)), 255)[0]
    assert torch.equal(colour, PIXELS.expand(30, 3, 6, 6))
    assert fitted(PIXELS, ImagePreparation(("a",), "L", (6, 6)), 16) == (PIXELS, 16)


def test_a_preparation_of_an_earlier_run():
    earlier = ImagePreparation(("c", "b", "x", "a"), "RGB", (3, 3), mean=(0.5,) * 3, flat=True)
    bunch = pixel_bunch(TRAIN, VALID, NAMES, 8, normalize=True, preparation=earlier)
    assert bunch.preparation is earlier
    assert bunch.train_ds.x.shape == (20, 27)
    assert bunch.train_ds.y[:3].tolist() == [3, 1, 0]
    assert bunch.valid_ds.y[:3].tolist() == [3, 1, 0]
    assert bunch.c == 4


def test_unknown_classes():
    earlier = ImagePreparation(("cat", "dog"), "L", (3, 3))
    with pytest.raises(
        ValueError, match=r"does not know: dogs\. The data have cat, dogs; the prep.*mean dog\?"
    ):
        relabel(torch.tensor([0]), ["cat", "dogs"], earlier)


def test_a_preparation_that_cannot_be_used():
    with pytest.raises(TypeError, match=r"preparation must be an ImagePreparation.*got dict"):
        given_preparation({})
    with pytest.raises(ValueError, match=r"size=9 is not the preparation's, which is \(3, 3\)"):
        given_preparation(ImagePreparation(("a",), "L", (3, 3)), 9)

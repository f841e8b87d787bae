import json

import pytest
import torch
from PIL import Image

from lehr.data import ImagePreparation
from lehr.data.images import preparation
from lehr.data.images.decode import BrokenImage
from lehr.data.images.preparation import statistics

COLOUR = ImagePreparation(
    ("cat", "dog"), "RGB", (4, 6), "squish", (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)
)


def test_the_formula_for_each_channel():
    pixels = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    mean, std = torch.tensor(COLOUR.mean), torch.tensor(COLOUR.std)
    expected = (pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.allclose(COLOUR(pixels), expected, atol=1e-5)
    assert not torch.allclose(COLOUR(pixels), expected.flip(1), atol=1e-2)


def test_without_a_scale_pixels_are_divided_by_white_exactly():
    plain = ImagePreparation(("a",), "L", (1, 2))
    assert (plain.mean, plain.std) == ((0.0,), (1.0,))
    pixels = torch.tensor([[[[7, 255]]]], dtype=torch.uint8)
    assert torch.equal(plain(pixels), pixels.float().div(255))
    assert plain(pixels.clamp(max=16), white=16).flatten()[1] == 1


def test_flat():
    flat = ImagePreparation(("a",), "L", (2, 3), flat=True)
    assert (flat.item_shape, COLOUR.item_shape) == ((6,), (3, 4, 6))
    assert flat(torch.zeros(5, 1, 2, 3, dtype=torch.uint8)).shape == (5, 6)


def test_there_and_back_through_json():
    stored = json.loads(json.dumps(COLOUR.to_dict()))
    assert stored["kind"] == "image"
    assert ImagePreparation.from_dict(stored) == COLOUR
    assert ImagePreparation.from_dict({**stored, "flat": True}) != COLOUR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "table"}, "kind must be one of image; got 'table'"),
        ({"extra": 1}, "must have the fields kind, classes, .*; unknown: extra"),
        ({"mode": "CMYK"}, "mode must be one of L, RGB; got 'CMYK'"),
        ({"mode": "L"}, "mean must have one number a channel, 1 for mode L"),
        ({"mean": [0.0, float("nan"), 0.0]}, r"mean\[1\] must be a finite number; got nan"),
        ({"std": [1.0, 0.0, 1.0]}, r"std\[1\] must be a finite number above 0; got 0\.0"),
        ({"size": [4, 0]}, r"size\[1\] must be a whole number from 1 to 8192; got 0"),
        ({"size": 4}, "size must be a list of 2; got 4"),
        ({"mean": 0.5}, "mean must be a list; got 0.5"),
        ({"flat": 1}, "flat must be True or False; got 1"),
        ({"classes": []}, r"classes must be a list of names; got \[\]"),
        ({"classes": ["a", "a"]}, "classes must be different texts; got 'a' twice"),
        ({"classes": ["a", ""]}, r"classes\[1\] must be a text that is not empty; got ''"),
        ({"resize": "stretch"}, r"resize must be one of crop, squish; .* squish\. Is this the"),
    ],
)
def test_what_is_stored_is_not_trusted(change, message):
    with pytest.raises(ValueError, match=message):
        ImagePreparation.from_dict({**COLOUR.to_dict(), **change})


def test_what_is_stored_must_be_all_there():
    stored = COLOUR.to_dict()
    del stored["std"]
    with pytest.raises(ValueError, match="must have the fields"):
        ImagePreparation.from_dict(stored)


@pytest.mark.parametrize("classes", [[], "cat", None, ["a", 1], ["a", ""], {"a", "b"}, ["b", "b"]])
def test_classes_are_a_list_of_different_names(classes):
    with pytest.raises(ValueError, match="classes"):
        ImagePreparation(classes, "L", (8, 8))
    assert ImagePreparation(["a", "b"], "L", 8).classes == ("a", "b")


@pytest.mark.parametrize(
    "pixels", [torch.zeros(2, 3, 4, 6), torch.zeros(2, 1, 4, 6).byte(), torch.zeros(3, 4, 6).byte()]
)
def test_pixels_of_another_form(pixels):
    with pytest.raises(
        ValueError, match=r"pixels must be uint8 of shape \(n, 3, 4, 6\); got torch"
    ):
        COLOUR(pixels)


def test_batches_of_files(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        Image.new("RGB", (12, 8), (i * 50, 0, 255)).save(file)
    (names, xb), (last, x) = COLOUR.batches(files, batch_size=2)
    assert names == [str(files[0]), str(files[1])]
    assert (last, xb.shape, x.shape) == ([str(files[2])], (2, 3, 4, 6), (1, 3, 4, 6))
    assert torch.allclose(x[0, 0], torch.tensor((100 / 255 - 0.1) / 0.5), atol=1e-5)
    files[1].write_bytes(b"broken")
    with pytest.raises(BrokenImage, match=r"1\.png cannot be decoded"):
        list(COLOUR.batches(files))
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        list(COLOUR.batches(files, 0))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_picture_undoes_the_scale(mode, flat):
    channels = 1 if mode == "L" else 3
    preparation = ImagePreparation(
        ("a",), mode, (4, 6), mean=(0.4,) * channels, std=(0.2,) * channels, flat=flat
    )
    pixels = torch.randint(0, 256, (1, channels, 4, 6), dtype=torch.uint8)
    picture = preparation.picture(preparation(pixels)[0])
    assert (picture.shape, picture.dtype) == ((4, 6, 3), torch.uint8)
    assert torch.equal(picture.permute(2, 0, 1), pixels[0].expand(3, 4, 6))


def test_in_words():
    x = ImagePreparation(("a",), "RGB", (2, 2)).in_words(torch.full((3, 2, 2), 0.5))
    assert x == "colour image of 2×2, brightness 0.50"


def test_statistics_are_those_of_the_numbers():
    pixels = torch.randint(0, 256, (5000, 3, 4, 4), dtype=torch.uint8)
    pixels[:, 1] //= 2
    mean, std = statistics(pixels)
    exact = (pixels.double() / 255).transpose(0, 1).flatten(1)
    assert torch.allclose(torch.tensor(mean).double(), exact.mean(1), atol=1e-7)
    assert torch.allclose(torch.tensor(std).double(), exact.std(1), atol=1e-7)
    assert mean[1] < 0.6 * mean[0]
    assert statistics(pixels, white=510)[0][0] == pytest.approx(mean[0] / 2)


def test_a_constant_channel_divides_by_no_zero():
    assert statistics(torch.full((2, 1, 2, 2), 9, dtype=torch.uint8))[1] == (1,)
    assert statistics(torch.full((1, 1, 1, 1), 9, dtype=torch.uint8))[1] == (1,)


def test_predictions_of_classes_are_left_alone():
    pred = torch.rand(3, 2)
    assert COLOUR.answers(pred) is pred


@pytest.mark.parametrize("mean", [(), (0.5, 0.4, 0.3)])
@pytest.mark.parametrize("worker", [None, "a worker"])
def test_many_numbers_are_prepared_a_few_at_a_time(monkeypatch, mean, worker):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (7, 3, 4, 5), dtype=torch.uint8, generator=generator)
    form = ImagePreparation(("a",), "RGB", (4, 5), mean=mean, std=mean)
    expected = form(pixels)
    monkeypatch.setattr(preparation, "_AT_ONCE", 125)
    monkeypatch.setattr(preparation, "get_worker_info", lambda: worker)
    prepared = form(pixels)
    assert torch.equal(prepared, expected)
    assert prepared.is_contiguous()
    assert prepared.is_shared() == (worker is not None)


def test_on_a_device_all_are_prepared_at_once(monkeypatch):
    monkeypatch.setattr(preparation, "_AT_ONCE", 125)
    calls, scaled = [], preparation._scaled
    monkeypatch.setattr(
        preparation, "_scaled", lambda x, *rest: calls.append(len(x)) or scaled(x, *rest)
    )
    assert COLOUR(torch.zeros(70, 3, *COLOUR.size, dtype=torch.uint8, device="meta")).is_meta
    assert calls == [70]

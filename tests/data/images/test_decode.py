import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lehr.data.images.decode import BrokenImage, decode, fit, load_image, to_image, to_tensor


def content(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def two_pixels(mode, left, right):
    image = Image.new(mode, (2, 1), left)
    image.putpixel((1, 0), right)
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (two_pixels("RGB", (1, 2, 3), (4, 5, 6)), [[1, 4], [2, 5], [3, 6]]),
        (two_pixels("L", 7, 9), [[7, 9]] * 3),
        (two_pixels("1", 0, 1), [[0, 255]] * 3),
        (two_pixels("P", 0, 0).convert("RGB").quantize(4), [[0, 0]] * 3),
        (two_pixels("RGBA", (9, 9, 9, 255), (9, 9, 9, 0)), [[9, 255]] * 3),
        (two_pixels("LA", (9, 255), (9, 0)), [[9, 255]] * 3),
    ],
    ids=["rgb", "grey", "bits", "palette", "alpha", "grey alpha"],
)
def test_every_mode_becomes_colour(image, expected):
    assert decode(content(image)).flatten(1).tolist() == expected


def test_colour_becomes_grey_by_its_weights():
    assert decode(content(Image.new("RGB", (1, 1), (255, 0, 0))), "L").tolist() == [[[76]]]


def test_cmyk():
    ink = Image.new("CMYK", (8, 8), (0, 0, 0, 255))
    assert decode(content(ink, "JPEG")).max() < 10
    assert decode(content(Image.new("CMYK", (8, 8)), "JPEG")).min() > 245


def test_a_palette_with_a_transparent_colour():
    image = Image.new("RGB", (2, 1), (255, 0, 0)).quantize(2)
    assert decode(content(image)).flatten(1).tolist() == [[255, 255], [0, 0], [0, 0]]
    assert decode(content(image, transparency=image.getpixel((0, 0)))).min() == 255


def test_sixteen_bits_of_grey_become_eight():
    deep = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.uint16))
    assert decode(content(deep), "L").tolist() == [[[0, 1, 255]]]
    assert decode(content(deep, "TIFF"), "RGB").shape == (3, 1, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_deeper_pixels_are_refused(dtype):
    image = Image.fromarray(np.array([[0, 70_000]], dtype=dtype))
    with pytest.raises(BrokenImage, match=r"pixels of mode [IF] are not of 8 or 16 bits"):
        decode(content(image, "TIFF"))


def test_the_orientation_of_the_camera():
    image = two_pixels("RGB", (0, 0, 0), (255, 255, 255)).resize((16, 8), 0)
    exif = Image.Exif()
    assert decode(content(image, "JPEG", exif=exif)).shape == (3, 8, 16)
    exif[0x0112] = 6  # turn clockwise
    turned = decode(content(image, "JPEG", exif=exif))
    assert turned.shape == (3, 16, 8)
    assert turned[:, :7].max() < 20
    assert turned[:, 9:].min() > 235


def test_the_first_frame():
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
    assert decode(content(frames[0], "GIF", save_all=True, append_images=frames[1:])).max() == 10


def test_crop_cuts_the_middle_and_squish_keeps_all():
    wide = np.zeros((10, 30), dtype=np.uint8)
    wide[:, :10], wide[:, 20:] = 255, 255
    cropped = decode(content(Image.fromarray(wide)), "L", (10, 10), "crop")
    squished = decode(content(Image.fromarray(wide)), "L", (10, 10), "squish")
    assert (cropped.shape, squished.shape) == ((1, 10, 10), (1, 10, 10))
    assert cropped.max() == 0
    assert squished[0, 0, 0] == 255
    assert squished[0, 0, 5] == 0
    tall = decode(content(Image.fromarray(wide.T.copy())), "L", (10, 10), "crop")
    assert tall.max() == 0


def test_crop_is_shorter_side_to_size_then_centre_crop():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8))
    two_steps = np.asarray(image.resize((30, 20), Image.Resampling.LANCZOS))[:, 5:25]
    one_step = np.asarray(fit(image, (20, 20)))
    assert np.abs(one_step.astype(int) - two_steps).max() <= 1
    assert np.abs(one_step.astype(int) - np.asarray(fit(image, (20, 20), "squish"))).max() > 20


def test_the_right_size_is_left_alone():
    image = Image.new("L", (3, 2))
    assert fit(image, (2, 3)) is image
    assert fit(image, None) is image


def test_a_large_photograph_is_averaged():
    checks = np.indices((400, 400)).sum(0) % 2 * 255
    small = decode(content(Image.fromarray(checks.astype(np.uint8)), "JPEG"), "L", (10, 10))
    assert small.float().std() < 5
    assert abs(small.float().mean() - 127) < 5


def test_own_mode():
    def load(image):
        return load_image(content(image), "own", None, "crop", name="x").mode

    assert load(Image.new("1", (1, 1))) == load(Image.new("LA", (1, 1))) == "L"
    assert load(Image.new("RGBA", (1, 1))) == load(Image.new("P", (1, 1))) == "RGB"


def test_there_and_back():
    pixels = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    assert torch.equal(to_tensor(to_image(pixels)), pixels)
    assert torch.equal(to_tensor(to_image(pixels[:1])), pixels[:1])
    assert not torch.equal(to_tensor(to_image(pixels.flip(2))), pixels)


WHOLE = content(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (b"", "it is empty"),
        (b"no image at all", "it is none of JPEG, PNG"),
        (WHOLE[:300], "Truncated"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "it is none of"),
    ],
)
def test_a_broken_file(tmp_path, broken, fault):
    file = tmp_path / "photo.jpg"
    file.write_bytes(broken)
    expected = (
        rf"photo\.jpg cannot be decoded as an image: .*({fault}).*Replace or remove the file\.$"
    )
    with pytest.raises(BrokenImage, match=expected) as caught:
        decode(file)
    assert caught.value.fault == str(caught.value).removesuffix(". Replace or remove the file.")
    with pytest.raises(BrokenImage, match=r"^the third cannot"):
        decode(broken, name="the third")


def test_the_name_of_what_has_none():
    with pytest.raises(BrokenImage, match=r"^an image of 5 bytes cannot"):
        decode(b"12345")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        decode(tmp_path / "gone.png")


def test_a_bomb_is_an_error(monkeypatch):
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    png += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 9) + b"IDAT"
    with pytest.raises(BrokenImage, match="decompression bomb"):
        decode(png)
    whole = content(Image.new("L", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # a warning by itself, not an error
    with pytest.raises(BrokenImage, match="decompression bomb"):
        decode(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert decode(whole).shape == (3, 40, 40)


def test_too_little_memory_is_not_the_files_fault(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decode(b"x")


def test_a_fault_survives_the_way_between_processes():
    error = BrokenImage("a.png is empty", "Remove it.")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.fault) == ("a.png is empty. Remove it.", "a.png is empty")
    assert str(BrokenImage("a.png is empty")) == "a.png is empty"

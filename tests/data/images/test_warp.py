"""Images turned, enlarged and moved."""

import pytest
import torch
from torch.nn import functional as F

from lehr.data.images.warp import mirrored, moved, warped

TYPES = (torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)


def images(n=6, channels=3, height=8, width=11, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, height, width), generator=draw).to(dtype)


def none(n=6):
    return torch.zeros(n)


def still(n=6):
    return {"angle": none(n), "zoom": none(n) + 1, "down": none(n), "right": none(n)}


@pytest.mark.parametrize("dtype", TYPES)
def test_a_mirrored_image_is_torch_flip(dtype):
    batch = images(dtype=dtype)
    which = torch.tensor([True, False, False, True, True, False])
    out = mirrored(batch, which)
    assert torch.equal(out[which], batch[which].flip(-1))
    assert torch.equal(out[~which], batch[~which])
    assert not torch.equal(out, batch)


def test_no_change_is_the_batch_itself():
    batch = images()
    assert warped(batch, **still()) is batch


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_move_is_a_slice_of_the_padded_image(dtype, padding):
    batch = images(dtype=dtype)
    down, right = torch.tensor([0, 2, -2, 3, 0, -1]), torch.tensor([0, 1, -3, 0, 2, -2])
    mode = {"zeros": "constant", "border": "replicate", "reflection": "symmetric"}[padding]
    if mode == "symmetric":  # NumPy's name; torch has no such mode
        rows = [2, 1, 0, *range(8), 7, 6, 5]
        padded = batch[:, :, rows][..., [2, 1, 0, *range(11), 10, 9, 8]]
    else:
        padded = F.pad(batch.double(), (3, 3, 3, 3), mode=mode).to(dtype)
    out = warped(batch, **still() | {"down": down, "right": right}, padding=padding)
    for i in range(6):
        top, left = 3 - down[i], 3 - right[i]
        assert torch.equal(out[i], padded[i, :, top : top + 8, left : left + 11])
    assert not torch.equal(out, batch)


def test_a_reflection_goes_on_beyond_the_first_edge():
    row = torch.arange(3).view(1, 1, 1, 3)
    far = moved(row, torch.tensor([0]), torch.tensor([8]), "reflection")
    assert far.flatten().tolist() == [1, 0, 0]  # 0 1 2|2 1 0|0 1 2|…, read from -8 on


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_a_turn_by_right_angles_is_torch_rot90(turns):
    angle = none() + turns * torch.pi / 2
    batch = images(height=9, width=9, dtype=torch.uint8)
    assert torch.equal(warped(batch, **still() | {"angle": angle}), batch.rot90(turns, (-2, -1)))
    real = images(height=8, width=8)
    out = warped(real, **still() | {"angle": angle}, padding="reflection")
    torch.testing.assert_close(out, real.rot90(turns, (-2, -1)), atol=1e-3, rtol=0)  # of 255
    assert not torch.allclose(out, real.rot90(turns + 1, (-2, -1)), atol=1)


def test_twice_as_large_is_torch_interpolate():
    batch = images(height=8, width=12)
    out = warped(batch, **still() | {"zoom": none() + 2})
    large = F.interpolate(batch, scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(out, large[..., 4:12, 6:18], atol=1e-3, rtol=0)
    small = warped(batch, **still() | {"zoom": none() + 0.5}, padding="zeros")
    assert not small[..., :2, :].any()
    assert small[..., 2:6, 3:9].all()


def test_what_is_turned_and_moved_is_first_turned_then_moved():
    batch = images(height=9, width=9, dtype=torch.uint8)
    moves = {"angle": none() + torch.pi / 2, "down": none() + 2, "right": none() - 1}
    turned = batch.rot90(1, (-2, -1))
    expected = moved(turned, none() + 2, none() - 1)
    assert torch.equal(warped(batch, **still() | moves), expected)
    assert not torch.equal(expected, moved(batch, none() + 2, none() - 1).rot90(1, (-2, -1)))


def test_a_move_is_by_whole_pixels_whatever_the_turn_and_the_size():
    batch = images(height=15, width=21)
    turned = still() | {"angle": none() + 0.5, "zoom": torch.linspace(0.7, 1.3, 6)}
    out = warped(batch, **turned | {"down": none() + 2, "right": none() - 3})
    before = warped(batch, **turned)
    torch.testing.assert_close(out[..., 2:, :-3], before[..., :-2, 3:], atol=1e-3, rtol=0)
    assert not torch.allclose(out[..., 2:, 3:], before[..., :-2, :-3], atol=1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("nearest", [False, True])
def test_a_batch_is_its_items_one_by_one(dtype, nearest):
    moves = {
        "angle": torch.tensor([0, 0.3, 0, -1, 0, 0.1]),
        "zoom": torch.tensor([1, 1, 1.2, 0.7, 1, 1]),
        "down": torch.tensor([0, 0, 1, 2, -3, 0]),
        "right": torch.tensor([0, 1, 0, -1, 2, 0]),
    }
    batch = images(dtype=dtype)
    out = warped(batch, **moves, nearest=nearest)
    assert (out.dtype, out.shape) == (dtype, batch.shape)
    for i in range(6):
        one = {name: numbers[i : i + 1] for name, numbers in moves.items()}
        assert torch.equal(out[i : i + 1], warped(batch[i : i + 1], **one, nearest=nearest))
    assert torch.equal(out[0], batch[0])  # this one keeps its very pixels
    assert not torch.equal(out[1:], batch[1:])


def test_the_nearest_pixel_makes_no_new_values():
    labels = torch.randint(0, 3, (6, 1, 8, 11), generator=torch.Generator().manual_seed(0)) * 100
    turned = still() | {"angle": none() + 0.4, "zoom": none() + 1.1}
    assert set(warped(labels, **turned, nearest=True).unique().tolist()) == {0, 100, 200}
    assert len(warped(labels, **turned).unique()) > 3


def test_an_image_in_channels_last_is_the_same_image():
    batch = images()
    last = batch.contiguous(memory_format=torch.channels_last)
    moves = still() | {"down": none() + 1}
    for changed in (moves, moves | {"angle": none() + 0.3}):
        torch.testing.assert_close(warped(last, **changed), warped(batch, **changed))


def test_an_empty_batch_stays_empty():
    assert warped(images(0), **still(0)).shape == (0, 3, 8, 11)
    assert moved(images(0), none(0), none(0)).shape == (0, 3, 8, 11)

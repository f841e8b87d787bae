import pytest
import torch

from lehr.data.images.augment import AUGMENTATIONS, flip, parse_augment, rotate, shift


def seeded(number=0):
    return torch.Generator().manual_seed(number)


BATCH = torch.randint(0, 256, (400, 3, 16, 24), dtype=torch.uint8, generator=seeded())


@pytest.mark.parametrize("change", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_form_and_randomness(change):
    before = BATCH.clone()
    out = change(BATCH, seeded(1))
    assert (out.shape, out.dtype) == (BATCH.shape, torch.uint8)
    assert torch.equal(BATCH, before)
    assert torch.equal(out, change(BATCH, seeded(1)))
    assert not torch.equal(out, change(BATCH, seeded(2)))
    torch.manual_seed(1)
    assert torch.equal(out, change(BATCH))  # without a generator, torch's own decides
    assert change(BATCH[:0]).shape == (0, 3, 16, 24)


def test_half_are_flipped_whole():
    out = flip(BATCH, seeded())
    same = (out == BATCH).flatten(1).all(1)
    mirrored = (out == BATCH.flip(-1)).flatten(1).all(1)
    assert torch.equal(same, ~mirrored)
    assert 160 < int(mirrored.sum()) < 240


def test_every_shift_is_one_of_those_allowed():
    n = 400
    rows = torch.arange(16).view(1, 1, 16, 1).expand(n, 1, 16, 24)
    columns = torch.arange(24).view(1, 1, 1, 24).expand(n, 1, 16, 24)
    out = shift(torch.cat([rows, columns], 1), seeded())
    dy, dx = out[:, 0, 8, 12] - 8, out[:, 1, 8, 12] - 12
    assert dy.unique().tolist() == [-2, -1, 0, 1, 2]
    assert dx.unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]
    expected = (torch.arange(16) + dy[:, None]).clamp(0, 15)  # the edge repeated
    assert torch.equal(out[:, 0], expected[:, :, None].expand(n, 16, 24))
    expected = (torch.arange(24) + dx[:, None]).clamp(0, 23)
    assert torch.equal(out[:, 1], expected[:, None].expand(n, 16, 24))


def test_a_tiny_image_has_nowhere_to_go():
    tiny = BATCH[:, :, :7, :7]
    assert torch.equal(shift(tiny, seeded()), tiny)


def test_the_angles_of_a_rotation():
    n, size = 400, 65
    bar = torch.zeros(n, 1, size, 2 * size, dtype=torch.uint8)  # not square
    bar[:, :, size // 2] = 200
    out = rotate(bar, seeded()).float()[:, 0]
    ys = torch.arange(size).view(1, size, 1)
    heights = (out * ys).sum(1) / out.sum(1)  # where the bar is, column by column
    slope = (heights[:, size + 24] - heights[:, size - 24]) / 48
    degrees = slope.atan().rad2deg()
    assert degrees.abs().max() < 16
    assert degrees.max() > 13
    assert degrees.min() < -13
    assert abs(float(degrees.mean())) < 1.5


def test_names():
    assert parse_augment(None) == ()
    assert parse_augment("rotate+flip") == (rotate, flip)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("flop", ValueError, r"got 'flop', and there is no 'flop'\. Did you mean flip\?"),
        ("flip+", ValueError, r"got 'flip\+', and there is no ''\. Use one of: flip, shift"),
        ("mixup", ValueError, r"Use one of: flip, shift, rotate\."),
        ("flip+flip", ValueError, r"each once; got 'flip\+flip'\. Leave out one flip"),
        (True, TypeError, "augment must be text or None; got True"),
        (["flip"], TypeError, "augment must be text or None"),
    ],
)
def test_other_names(text, error, message):
    with pytest.raises(error, match=message):
        parse_augment(text)

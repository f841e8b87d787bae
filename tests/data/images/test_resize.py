"""Batches of images in another size."""

import pytest
import torch
from torch.nn import functional as F

from lehr.data.images.resize import resized


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.float32])
def test_it_is_torch_interpolate_with_averages(dtype):
    images = torch.randint(0, 256, (4, 3, 16, 12)).to(dtype)
    expected = F.interpolate(images.float(), (8, 6), mode="bilinear", antialias=True)
    out = resized(images, (8, 6))
    assert torch.equal(out, (expected if dtype.is_floating_point else expected.round()).to(dtype))
    plain = F.interpolate(images.float(), (8, 6), mode="bilinear")
    assert not torch.equal(out, plain.to(dtype))


def test_the_size_that_it_has_is_the_batch_itself():
    images = torch.rand(2, 1, 5, 6)
    assert resized(images, (5, 6)) is images
    assert resized(images, (5, 5)) is not images


def test_the_nearest_pixel_makes_no_new_values():
    labels = torch.randint(0, 2, (4, 1, 16, 12)) * 200
    out = resized(labels, (7, 5), nearest=True)
    assert set(out.unique().tolist()) == {0, 200}
    assert len(resized(labels, (7, 5)).unique()) > 2
    assert torch.equal(resized(labels, (8, 6), nearest=True), labels[..., 1::2, 1::2])

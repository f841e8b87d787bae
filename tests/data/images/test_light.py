"""Brightness and contrast."""

import pytest
import torch

from lehr.data.images.light import lit


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_no_more_and_a_factor_of_one_leave_every_bit(dtype):
    images = torch.randint(0, 256, (4, 3, 5, 6)).to(dtype)
    out = lit(images, brightness=torch.zeros(4), contrast=torch.ones(4))
    assert torch.equal(out, images)
    assert out.dtype == dtype
    assert not torch.equal(lit(images, brightness=torch.ones(4), contrast=torch.ones(4)), images)


def test_it_is_its_definition_for_each_image():
    images = torch.randn(3, 2, 5, 6)
    b, c = torch.tensor([0.1, 0.0, -0.5]), torch.tensor([1.0, 1.5, 0.0])
    out = lit(images, brightness=b, contrast=c)
    for i in range(3):
        mean = images[i].mean()
        torch.testing.assert_close(out[i], (images[i] - mean) * c[i] + mean + b[i])


def test_whole_numbers_are_rounded_and_bounded():
    images = torch.tensor([0, 100, 200], dtype=torch.uint8).view(1, 1, 1, 3)
    out = lit(images, brightness=torch.tensor([0.5]), contrast=torch.ones(1))
    assert out.flatten().tolist() == [128, 228, 255]
    out = lit(images, brightness=torch.zeros(1), contrast=torch.tensor([2.0]))
    assert out.flatten().tolist() == [0, 100, 255]

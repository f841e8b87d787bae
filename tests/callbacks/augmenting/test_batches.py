"""Batches that are images, and masks."""

import pytest
import torch

from lehr.callbacks import CutMix, RandomErasing
from lehr.callbacks.augmenting.batches import check_target, image_batch, mask_batch

IMAGES = torch.rand(2, 3, 4, 5)


def test_images_are_handed_back_as_they_are():
    assert image_batch(IMAGES, CutMix()) is IMAGES


@pytest.mark.parametrize("value", [IMAGES[0], (IMAGES, IMAGES), {"x": IMAGES}, None])
def test_anything_else_is_refused_with_the_name_of_the_callback_and_a_hint(value):
    with pytest.raises(ValueError, match=r"RandomErasing needs a batch of images.*Do it\."):
        image_batch(value, RandomErasing(), "Do it.")


def test_masks_have_a_dimension_of_channels_then():
    masks = torch.zeros(2, 4, 5)
    assert mask_batch(masks, IMAGES, CutMix()).shape == (2, 1, 4, 5)
    two = torch.zeros(2, 2, 4, 5)
    assert mask_batch(two, IMAGES, CutMix()) is two


@pytest.mark.parametrize("shape", [(2,), (2, 4, 4), (3, 4, 5), (2, 1, 1, 4, 5)])
def test_masks_that_do_not_lie_on_the_images_are_refused(shape):
    text = r'CutMix\(target="mask"\) needs masks as yb.* got .* for images \(2, 3, 4, 5\)'
    with pytest.raises(ValueError, match=text):
        mask_batch(torch.zeros(shape), IMAGES, CutMix())


def test_a_target_is_a_mask_or_nothing():
    assert check_target(None) is None
    with pytest.raises(ValueError, match="target must be None or \"mask\"; got 'boxes'"):
        check_target("boxes")

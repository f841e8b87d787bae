"""Rectangles of images that are filled."""

import pytest
import torch

from lehr.data.images.erase import Boxes, erased, rectangles, squares


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_what_is_erased_is_the_slice(dtype):
    images = torch.randint(1, 255, (3, 2, 7, 9)).to(dtype)
    boxes = Boxes(*map(torch.tensor, ([0, 2, -1], [1, 5, 6], [3, 0, 4], [2, 4, 9])))
    out = erased(images, boxes, 7)
    expected = images.clone()
    expected[0, :, 0:3, 1:3] = 7
    expected[2, :, 0:3, 6:9] = 7  # what of it lies inside
    assert torch.equal(out, expected)
    assert out.dtype == dtype
    assert not torch.equal(out, images)
    assert torch.equal(out[1], images[1])  # no rows


def test_each_value_may_be_filled_with_its_own():
    images, fill = torch.zeros(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    one, two = torch.ones(2).long(), torch.ones(2).long() * 2
    out = erased(images, Boxes(one, one, two, two), fill)
    assert torch.equal(out[..., 1:3, 1:3], fill[..., 1:3, 1:3])
    assert out.count_nonzero() == 8


def test_squares_are_cut_off_at_the_edge_around_any_pixel():
    places = torch.tensor([[0.0, 0.5, 0.99], [0.0, 0.5, 0.99]])
    boxes = squares(places, torch.tensor([3, 3, 3]), (8, 10))
    cut = erased(torch.ones(3, 1, 8, 10), boxes) == 0
    assert cut.sum((1, 2, 3)).tolist() == [4, 9, 4]
    assert cut[1, 0, 3:6, 4:7].all()


def drawn_boxes(size, area, aspect=0.3, n=20_000):
    draws = torch.rand(3, n, generator=torch.Generator().manual_seed(1))
    return rectangles(draws, area, aspect, size)


@pytest.mark.parametrize("size", [(200, 200), (120, 240), (400, 100)])
def test_rectangles_have_the_areas_that_were_asked_for_and_lie_inside(size):
    area = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) * 0.38 + 0.02
    top, left, tall, wide = drawn_boxes(size, area)
    torch.testing.assert_close(tall * wide / (size[0] * size[1]), area, atol=0.006, rtol=0)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + tall <= size[0]).all()
    assert (left + wide <= size[1]).all()


def test_aspects_are_uniform_in_their_logarithm_and_places_uniform():
    top, _, tall, wide = drawn_boxes((1000, 1000), torch.full((20_000,), 0.05))
    ratio = (tall / wide).log()
    edge = torch.tensor(0.3).log().abs()
    quarters = torch.histc(ratio, 4, -edge.item(), edge.item()) / 20_000
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.02, rtol=0)
    places = torch.histc(top / (1000 - tall), 5, 0, 1) / 20_000
    torch.testing.assert_close(places, torch.full((5,), 0.2), atol=0.02, rtol=0)


def test_where_few_aspects_fit_those_are_drawn():
    top, left, tall, wide = drawn_boxes((10, 10), torch.ones(5), n=5)
    assert tall.tolist() == wide.tolist() == [10] * 5
    assert not top.any()
    assert not left.any()
    _, _, tall, wide = drawn_boxes((100, 10), torch.full((100,), 0.5), n=100)
    assert (wide == 10).all()  # nothing of an aspect below 5 has half of the area
    assert (tall == 50).all()


def test_no_area_is_a_pixel_or_two():
    _, _, tall, wide = drawn_boxes((10, 10), torch.zeros(99), n=99)
    assert (tall * wide).unique().tolist() == [1, 2]

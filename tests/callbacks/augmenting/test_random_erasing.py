"""Rectangles of noise."""

import pytest
import torch

from lehr.callbacks import ParamScheduler, RandomErasing
from lehr.callbacks.augmenting.random_erasing import noise
from lehr.schedules import sched_lin

from .pictures import Look, learner, pictures, seen


def boxes_of(x, out):
    """Of each image: whether it was changed, and the share of its rectangle, which is whole."""
    changed = (x != out).any(1)
    shares = []
    for image in changed[changed.flatten(1).any(1)]:
        rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        shares.append(box.numel() / image.numel())
    return torch.tensor(shares)


def test_areas_are_uniform_and_as_many_are_erased_as_the_chance_says():
    x = pictures(size=(32, 32), n=1000)
    out = seen(RandomErasing(0.5, min_area=0.1, max_area=0.5), x=x, batch_size=250)[0]
    shares = boxes_of(x, out)
    assert 430 < len(shares) < 570
    assert shares.min() > 0.08
    assert shares.max() < 0.52
    quarters = torch.histc(shares, 4, 0.1, 0.5) / len(shares)
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.06, rtol=0)
    small = boxes_of(x, seen(RandomErasing(0.5, max_area=0.1), x=x, batch_size=250)[0])
    assert small.mean() == pytest.approx(0.06, abs=0.01)


def test_without_a_chance_nothing_is_erased_and_with_certainty_all_are():
    x = pictures()
    assert torch.equal(seen(RandomErasing(0.0))[0], x)
    assert len(boxes_of(x, seen(RandomErasing(1.0))[0])) == len(x)


def test_each_image_has_a_rectangle_of_its_own():
    same = pictures(n=1).expand(40, -1, -1, -1)
    out = seen(RandomErasing(1.0, fill=0), x=same, epochs=2)
    assert len(out.flatten(0, 1).unique(dim=0)) > 60


def test_a_number_fills_with_that_number():
    x = pictures(torch.uint8)
    out = seen(RandomErasing(1.0, fill=255), x=x)[0]
    assert out.dtype == torch.uint8
    assert (out[out != x] == 255).all()
    assert (out != x).any(1).flatten(1).any(1).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_noise_has_the_range_of_the_images(dtype):
    drawn = noise(torch.empty(200, 50, dtype=dtype), torch.Generator().manual_seed(0))
    assert drawn.dtype == dtype
    mean, std = (127.5, 73.9) if dtype == torch.uint8 else (0, 1)
    assert drawn.float().mean() == pytest.approx(mean, abs=0.03 * std)
    assert drawn.float().std() == pytest.approx(std, rel=0.03)


def test_what_is_erased_is_noise_of_its_own_in_every_value():
    x = pictures()
    out = seen(RandomErasing(1.0))[0]
    values = out[out != x]
    assert len(values.unique()) > 0.99 * len(values)


def test_its_numbers_can_be_scheduled():
    look = Look()
    schedule = ParamScheduler("callbacks.random_erasing.p", sched_lin(0.0, 2.0))
    learner(RandomErasing(), schedule, look).fit(1)
    assert len(boxes_of(pictures()[:8], look.train[0])) == 0
    assert len(boxes_of(pictures()[24:], torch.cat(look.train)[24:])) == 16


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"p": 2}, ValueError, "p must be from 0 to 1; got 2"),
        ({"min_area": -0.1}, ValueError, "min_area must be from 0 to 1"),
        ({"min_area": 0.6}, ValueError, "min_area must be at most max_area; got 0.6 and 0.4"),
        ({"aspect": 0}, ValueError, "aspect must be above 0"),
        ({"aspect": 3}, ValueError, "aspect must be at most 1; got 3"),
        ({"fill": "snow"}, TypeError, "fill must be a real number; got 'snow'"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        RandomErasing(**arguments)


def test_a_batch_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"RandomErasing needs a batch of images as xb"):
        learner(RandomErasing(), x=torch.rand(40, 3)).fit(1)


def test_its_repr_says_how_it_was_made():
    shown = "RandomErasing(0.2, min_area=0.02, max_area=0.4, aspect=0.3, fill='noise')"
    assert repr(RandomErasing(0.2)) == shown

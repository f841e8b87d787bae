from types import SimpleNamespace

import pytest

from lehr.data.images.fields import given_scale, image_size, one_of, written_out


def test_sizes():
    assert image_size("size", 3) == (3, 3)
    assert image_size("size", (3, 4)) == image_size("size", [3, 4]) == (3, 4)


@pytest.mark.parametrize("value", [1.5, "64", None, (3,), (3, 4, 5), (3, "4"), True])
def test_sizes_that_are_none(value):
    with pytest.raises(TypeError, match=r"size must be an int or a pair \(height, width\); got"):
        image_size("size", value)


@pytest.mark.parametrize(
    ("value", "message"), [(0, "at least 1; got 0"), ((4, -1), "got -1"), (9000, "at most 8192")]
)
def test_sizes_out_of_range(value, message):
    with pytest.raises(ValueError, match=message):
        image_size("size", value)


def test_one_of():
    assert one_of("resize", "crop", ("crop", "squish")) == "crop"
    expected = "resize must be one of crop, squish; got 'squash'. Did you mean squish?"
    with pytest.raises(ValueError, match=expected):
        one_of("resize", "squash", ("crop", "squish"))
    with pytest.raises(ValueError, match="got None"):
        one_of("resize", None, ("crop", "squish"))


def test_a_scale_of_ones_own():
    assert given_scale([[0.1, 0.2, 0.3], [1, 1, 2]]) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))
    assert given_scale((0.5, 0.25)) == ((0.5,), (0.25,))
    assert given_scale(False) is None
    for wrong in (1, None, "mean", (0.5,)):
        with pytest.raises(TypeError, match="normalize must be True, False, or a pair"):
            given_scale(wrong)
    for wrong in (((0, 0), (1, 1)), (0.5, 0), ((0, 0, 0), 1)):
        with pytest.raises(ValueError, match="above 0 for each of 1 or 3 channels"):
            given_scale(wrong)


def test_short_forms():
    given = SimpleNamespace(mode="RGB", size=4, mean=(), std=[1, 2, 3])
    assert written_out(given) == {"size": (4, 4), "mean": (0, 0, 0), "std": (1, 2, 3)}
    assert written_out(SimpleNamespace(mode="L", size=(4, 5), mean=0.5, std=())) == {
        "size": (4, 5),
        "mean": (0.5,),
        "std": (1.0,),
    }
    with pytest.raises(ValueError, match=r"mode must be one of L, RGB; got 'rgb'"):
        written_out(SimpleNamespace(mode="rgb", size=4, mean=(), std=()))
    with pytest.raises(TypeError, match=r"mean must be a real number; got '0'"):
        written_out(SimpleNamespace(mode="L", size=4, mean="0", std=()))

import pytest

from lehr.data.image_fields import class_names, image_size, one_of


@pytest.mark.parametrize("value", [[], "cat", None, ["a", 1], ["a", ""]])
def test_classes_that_are_no_names(value):
    with pytest.raises(ValueError, match="classes must be a list of names; got"):
        class_names(value)


def test_classes_named_twice():
    with pytest.raises(ValueError, match=r"classes must be different; got \['b'\] twice"):
        class_names(["a", "b", "b"])
    assert class_names(["a", "b"]) == ("a", "b")


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

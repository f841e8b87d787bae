import pytest

from lehr.data.stored_fields import (
    check_fields,
    list_field,
    number_field,
    numbers_field,
    text_field,
    texts_field,
)


def test_fields_are_exactly_those():
    assert check_fields("a point", {"y": 2, "x": 1}, ["x", "y"]) == {"x": 1, "y": 2}
    with pytest.raises(ValueError, match=r"a point must be a dict; got \[1\]\. Is this the file"):
        check_fields("a point", [1], ["x"])
    for wrong in ({"x": 1}, {"x": 1, "y": 2, "z": 3}):
        with pytest.raises(ValueError, match="a point must have the fields x, y; got x"):
            check_fields("a point", wrong, ["x", "y"])


def test_text():
    assert text_field({"a": "b"}, "a") == "b"
    with pytest.raises(ValueError, match="a must be text; got 3"):
        text_field({"a": 3}, "a")


@pytest.mark.parametrize("wrong", [["a", 1], ["a", "a"]])
def test_texts(wrong):
    assert texts_field({"a": ["b", "c"]}, "a") == ("b", "c")
    with pytest.raises(ValueError, match="a must be a list of different texts; got"):
        texts_field({"a": wrong}, "a")


def test_lists():
    assert list_field({"a": (1, 2)}, "a") == [1, 2]
    with pytest.raises(ValueError, match="a must be a list; got 'bc'"):
        list_field({"a": "bc"}, "a")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "1", None, True])
def test_numbers(wrong):
    assert number_field({"a": -1}, "a") == -1.0
    with pytest.raises(ValueError, match="a must be a finite number; got"):
        number_field({"a": wrong}, "a")
    with pytest.raises(ValueError, match="a must be a finite number; got"):
        numbers_field({"a": [1, wrong]}, "a")


def test_positive_numbers():
    assert numbers_field({"a": [1, 2]}, "a", positive=True) == (1.0, 2.0)
    with pytest.raises(ValueError, match="a must be a finite number above 0; got 0"):
        number_field({"a": 0}, "a", positive=True)

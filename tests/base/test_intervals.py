"""How often: what is understood, and what is refused with what would have been."""

import re

import pytest

from lehr.base.intervals import EVERY_EPOCH, Every, every


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500 steps", Every(500, "steps")),
        ("1 step", Every(1, "steps")),
        ("1 epoch", EVERY_EPOCH),
        ("2 epochs", Every(2, "epochs")),
        ("  10   steps ", Every(10, "steps")),
        ("10steps", Every(10, "steps")),
    ],
)
def test_a_number_and_a_unit(text, expected):
    assert every(text) == expected


@pytest.mark.parametrize(
    "text",
    ["steps", "500", "0 steps", "-1 steps", "1.5 epochs", "500 stepss", "500 batches", ""]
    + ["500 Steps", "1 2 steps", "five steps", 500, None, b"500 steps"],
)
def test_anything_else_is_refused_with_an_example(text):
    expected = (
        "validate_every must be a whole number and a unit (steps or epochs); "
        f'got {text!r}. Write e.g. validate_every="500 steps".'
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        every(text, argument="validate_every")


def test_the_units_can_be_chosen():
    assert every("30 seconds", units=("seconds", "steps")) == Every(30, "seconds")
    match = r'^every must .* \(seconds or steps\); .* Write e\.g\. every="500 seconds"\.$'
    with pytest.raises(ValueError, match=match):
        every("2 epochs", units=("seconds", "steps"))


def test_it_prints_as_it_is_written():
    for text in ("1 step", "2 steps", "1 epoch", "10 epochs"):
        assert str(every(text)) == text
    assert str(every("1 steps")) == "1 step"

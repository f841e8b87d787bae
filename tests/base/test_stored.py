"""What does not fit its form is told: which field, what is allowed, what came."""

import re
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from lehr.base.stored import MOST, Count, Finite, Form, Index, Positive, read, refuse_twins, shown


class Part(Form):
    size: Index
    note: str = ""

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("size must not be 13")


class Whole(Form):
    numbers: tuple[Finite, ...]
    names: Annotated[tuple[str, ...], Meta(max_length=3, description="at most three texts")] = ()
    way: Literal["up", "down"] = "up"
    only: Literal["this"] = "this"
    parts: tuple[Part, ...] = ()
    pair: tuple[Count, Count] = (1, 1)
    table: dict[str, Positive | None] = {}
    inner: Part | None = None
    free: Any = None
    flag: bool = False

    def __post_init__(self) -> None:
        refuse_twins("names", self.names)


GOOD = {"numbers": [1, 2.5]}
HUGE = 10**5000


def test_what_fits_comes_back_in_its_types():
    read = Whole.read({**GOOD, "names": ["a"], "inner": {"size": 3}, "free": [1]}, "it")
    assert read == Whole((1.0, 2.5), ("a",), inner=Part(3), free=[1])
    assert type(read.numbers[0]) is float
    assert Part.read({"size": 1}, "it").to_dict() == {"size": 1, "note": ""}
    assert Part.read_among({"size": 1, "other": 2, "\ud800": 3}, "it") == Part(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers": None}, "numbers must be a list; got None"),
        ({"numbers": ["1"]}, "numbers[0] must be a finite number; got '1'"),
        ({"numbers": [0, True]}, "numbers[1] must be a finite number; got True"),
        ({"numbers": [float("nan")]}, "numbers[0] must be a finite number; got nan"),
        ({"numbers": [float("-inf")]}, "numbers[0] must be a finite number; got -inf"),
        ({"numbers": [10**400]}, "numbers[0] must be a finite number; got 1000"),
        ({"numbers": [[]]}, "numbers[0] must be a finite number; got []"),
        ({"names": ["a"] * 4}, "names must be at most three texts; got ['a', 'a', 'a', 'a']"),
        ({"names": ["a", "b", "a"]}, "names must be different texts; got 'a' twice"),
        ({"names": [b"a"]}, "names[0] must be text; got b'a'"),
        ({"names": "ab"}, "names must be at most three texts; got 'ab'"),
        ({"way": "left"}, "way must be one of up, down; got 'left'"),
        ({"way": 3}, "way must be one of up, down; got 3"),
        ({"only": "that"}, "only must be one of this; got 'that'"),
        ({"parts": [3]}, "parts[0] must be a dict; got 3"),
        ({"parts": [{"size": 1}, {}]}, "parts[1] must have the fields size, and may have note; mi"),
        ({"parts": [{"size": 1, "b": 1}]}, "parts[0] must have the fields size, and may have note"),
        ({"parts": [{"size": -1}]}, "parts[0].size must be a whole number from 0 to 2**53; got -1"),
        (
            {"parts": [{"size": 1.0}]},
            "parts[0].size must be a whole number from 0 to 2**53; got 1.",
        ),
        ({"parts": [{"size": 13}]}, "parts[0]: size must not be 13"),
        ({"pair": [1]}, "pair must be a list of 2; got [1]"),
        ({"pair": [1, 0]}, "pair[1] must be a whole number from 1 to 2**53; got 0"),
        (
            {"pair": [MOST + 1, 1]},
            "pair[0] must be a whole number from 1 to 2**53; got 90071992547",
        ),
        (
            {"pair": [1, HUGE]},
            "pair[1] must be a whole number from 1 to 2**53; got a number of too",
        ),
        ({"table": {"a": 1, "b": 0}}, "table['b'] must be a finite number above 0 or None; got 0"),
        ({"table": [1]}, "table must be a dict; got [1]"),
        ({"inner": 3}, "inner must be a dict or None; got 3"),
        ({"inner": {"size": "x"}}, "inner.size must be a whole number from 0 to 2**53; got 'x'"),
        ({"flag": 1}, "flag must be True or False; got 1"),
        ({"more": 1}, "flag; unknown: more"),
        ({"x - at `$.parts": 1}, "flag; unknown: x - at `$.parts"),
        ({"\ud800": 1}, "it has a field whose name is no text: half of a surrogate pair"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Whole.read({**GOOD, **change}, "it", todo="Do that.")
    assert str(caught.value).endswith(". Do that.")
    assert len(str(caught.value)) < 300


def test_the_whole_has_a_name_and_a_place():
    with pytest.raises(ValueError, match=r"^a part must be a dict; got 3$"):
        Part.read(3, "a part")
    with pytest.raises(ValueError, match=r"^parts\[4\]\.size must be a whole number .*; got '1'$"):
        Part.read({"size": "1"}, "a part", at="parts[4]")
    with pytest.raises(ValueError, match=r"^parts\[4\]: size must not be 13$"):
        Part.read({"size": 13}, "a part", at="parts[4]")
    with pytest.raises(
        ValueError, match=r"^a part must have the fields size.*; missing: size; unk"
    ):
        Part.read({"sise": 1}, "a part")
    with pytest.raises(ValueError, match=r"^x\[1\] must be a whole number"):
        read(list[Count], [1, 0], "x", at="x")


def test_names_are_not_trusted_either():
    many = {f"{'n' * 100}{i}": i for i in range(1000)}
    with pytest.raises(ValueError, match="unknown: nnn") as caught:
        Part.read({"size": 1, **many}, "a part")
    assert str(caught.value).endswith("n, …")
    assert len(str(caught.value)) < 1000
    with pytest.raises(ValueError, match=r"unknown: 'a\\x1b\[0m'"):
        Part.read({"size": 1, "a\x1b[0m": 2}, "a part")


def test_values_are_shown_shortly():
    assert shown(["a"] * 100).endswith("...]")
    assert shown(HUGE) == "a number of too many digits"
    assert len(shown("a" * 10_000)) < 50


def test_the_first_fault_ends_it():
    with pytest.raises(ValueError, match=r"numbers\[0\] must be a finite number; got 'x'"):
        Whole.read({"numbers": ["x"] * 1_000_000}, "it")

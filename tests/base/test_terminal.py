"""What is read from a file, printed or put into a spreadsheet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lehr.base.terminal import printable, safe_cell


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cat\x1b[2J\x1b]0;pwned\x07", r"cat\x1b[2J\x1b]0;pwned\x07"),
        ("a\rb\x08\x7f\x9b31m", r"a\rb\x08\x7f\x9b31m"),
        ("abc\u202edcb\u2066", r"abc\u202edcb\u2066"),
        ("lone \ud800", r"lone \ud800"),
        ("new\nline\ttab", "new\nline\ttab"),
        ("Käse 猫 🐈 €\u00a0\\x1b", "Käse 猫 🐈 €\u00a0\\x1b"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, told):
    assert printable(text) == told


def test_in_one_line_new_lines_are_written_out_too():
    assert printable("a\nb\tc\x1b", one_line=True) == r"a\nb\tc\x1b"


@given(st.text())
def test_whatever_it_is_it_can_be_printed(text):
    shown = printable(text, one_line=True)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    if text.isalnum():
        assert shown == text


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n1", "＝1", "-inf"],
)
def test_a_formula_becomes_a_text(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", ["-1.5", "+2", "-1e-07", ".5", "-.5", "", "a=b", "cat", "1-2", -1.5, 3, None]
)
def test_numbers_and_words_stay(value):
    assert safe_cell(value) is value

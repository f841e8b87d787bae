"""Rows of numbers as text and as HTML."""

import pytest

from lehr.base.rows import (
    aligned,
    cell,
    columns,
    fitting,
    header,
    html_rows,
    line,
    markup,
    narrowed,
)

ROW = {
    "epoch": 0,
    "step": 9,
    "train_loss": 2.3,
    "valid_loss": None,
    "accuracy": 0.5,
    "seconds": 1.0,
}


def test_losses_come_first_and_the_time_last_without_the_step():
    expected = ["epoch", "train_loss", "valid_loss", "accuracy", "seconds"]
    assert columns(ROW) == expected
    assert columns(dict(reversed(ROW.items()))) == expected


def test_other_columns_keep_their_order():
    assert columns({"b": 1, "a": 2, "valid_loss": 0.1}) == ["valid_loss", "b", "a"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("seconds", 0.0, "0.00s"),
        ("seconds", 9.5, "9.50s"),
        ("seconds", 10, "0:10"),
        ("seconds", 59.99, "0:59"),
        ("seconds", 60.0, "1:00"),
        ("seconds", 3725, "62:05"),
        ("seconds", None, "–"),
        ("accuracy", 0.91234, "0.9123"),
        ("accuracy", 0.0, "0.0000"),
        ("loss", -0.5, "-0.5000"),
        ("loss", 0.001, "0.0010"),
        ("loss", 0.00099, "0.00099"),
        ("loss", 99999.0, "99999.0000"),
        ("loss", 1e5, "100,000"),
        ("loss", -148700.4, "-148,700"),
        ("loss", 3e15, "3e+15"),
        ("loss", float("nan"), "nan"),
        ("loss", float("-inf"), "-inf"),
        ("epoch", 3, "3"),
        ("note", "best", "best"),
        ("x", None, "–"),
    ],
)
def test_a_value_as_text(name, value, text):
    assert cell(name, value) == text


@pytest.mark.parametrize("names", [columns(ROW), ["epoch", "a_column_with_a_very_long_name"]])
def test_rows_stand_under_their_header(names):
    head, row = header(names), line(names, ROW)
    assert len(head) == len(row)
    for name in names:
        title = "time" if name == "seconds" else name
        end = head.index(title) + len(title)
        assert row[:end].endswith(cell(name, ROW.get(name)))
        assert row[end : end + 2] in ("", "  ")


def test_a_column_that_a_row_lacks_is_a_dash():
    assert line(["epoch", "accuracy"], {"epoch": 1}) == "    1           –"


def test_html_has_the_columns_of_all_rows():
    assert html_rows([{"epoch": 0}, {"epoch": 1, "seconds": 2.5}]) == (
        "<table><thead><tr><th>epoch</th><th>time</th></tr></thead>"
        "<tbody><tr><td>0</td><td>–</td></tr><tr><td>1</td><td>2.50s</td></tr></tbody></table>"
    )


def test_html_is_escaped():
    text = html_rows([{"<lambda>": "a&b"}])
    assert "<th>&lt;lambda&gt;</th>" in text
    assert "<td>a&amp;b</td>" in text
    assert "<lambda>" not in text


def test_no_rows_are_an_empty_table():
    assert html_rows([]) == "<table><thead><tr></tr></thead><tbody></tbody></table>"


def test_texts_are_aligned_by_column():
    lines = aligned(["name", "n"], [["a", "100"], ["longer", "2"]], right=["n"])
    assert lines == ["name      n", "a       100", "longer    2"]
    assert aligned(["name"], []) == ["name"]


def test_markup_escapes_heads_and_cells():
    page = markup(["<h>"], [["a & b"], ["<script>"]])
    assert "<th>&lt;h&gt;</th>" in page
    assert "<td>a &amp; b</td>" in page
    assert "<script>" not in page


def test_a_narrow_line_keeps_what_tells_most():
    names = ["epoch", "train_loss", "valid_loss", "accuracy", "seconds"]
    kept = [fitting(names, width) for width in (53, 52, 41, 40, 28, 16, 1)]
    assert kept[0] == names
    assert kept[1] == kept[2] == names[:-1]
    assert kept[3] == ["epoch", "valid_loss", "accuracy"]
    assert kept[4] == ["epoch", "valid_loss"]
    assert kept[5] == kept[6] == ["epoch"]
    assert all(len(header(some)) <= 40 for some in kept[3:])


def test_a_narrow_place_has_fewer_columns_and_a_wide_one_all():
    head, rows = ["layer", "mean", "std"], [["linear", "0.5", "1"], ["relu", "0.25", "2"]]
    least = ["std", "mean"]
    assert narrowed(head, rows, 17, least=least) == (head, rows)
    shown, cells = narrowed(head, rows, 16, least=least)
    assert (shown, cells) == (["layer", "mean"], [["linear", "0.5"], ["relu", "0.25"]])
    assert narrowed(head, rows, 1, least=least)[0] == ["layer"]

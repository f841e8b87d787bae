"""A column of dates: what counts as one, its features, and what they were made from."""

from datetime import datetime
from pathlib import Path

import pytest
import torch

from lehr.data.tables.columns import column_from, work_out_column
from lehr.data.tables.dates import (
    PARTS,
    DateColumn,
    are_dates,
    read_dates,
    unread_date,
)
from lehr.data.tables.text_table import TextTable


def table(*values):
    return TextTable(Path("a.csv"), {"x": list(values)}, list(range(2, 2 + len(values))))


def raw(*values):
    """The column whose features are the parts themselves."""
    column = work_out_column(table(*values), "x", range(len(values)), normalize=False)
    assert isinstance(column, DateColumn)
    return column


def parts_of(text, *others):
    column = raw(text, *others)
    return dict(zip(column.parts, column.encode(table(text))[0].tolist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-31",
        "2026/3/31",
        "2026.03.31",
        "2026-03-31 00:00",
        "2026-03-31T00:00:00",
        "2026-03-31T00:00:00.000Z",
        "2026-03-31 00:00:00 UTC",
        "2026-03-31T00:00:00+02:00",
    ],
)
def test_ways_to_write_a_date(text):
    assert read_dates(table(text), "x") == [datetime(2026, 3, 31)]
    assert parts_of(text) == {"year": 2026, "month": 3, "day": 31, "weekday": 1, "days": 20543}


def test_a_time_is_an_hour_of_the_day():
    assert parts_of("2026-03-31 14:45:36")["hour"] == pytest.approx(14.76)
    assert parts_of("2026-03-31", "2026-04-01 06:00")["hour"] == 0


@pytest.mark.parametrize("text", ["20260331", "2026-03", "31.3.2026", "2026-03/31", "14:30", "red"])
def test_what_is_no_date(text):
    assert not are_dates([text])
    assert not are_dates(["2026-03-31", text])


def test_missing_values_count_neither_way():
    assert are_dates(["2026-03-31", "", "NA", "null"])
    assert not are_dates(["", "NA"])
    assert not are_dates([])


def test_each_part_is_standardised_by_the_training_rows_alone():
    column = work_out_column(
        table("2026-03-01", "2026-03-03", "2026-03-05", "1999-01-01"),
        "x",
        [0, 1, 2],
        normalize=True,
    )
    x = column.encode(table("2026-03-03", "2026-03-07"))
    assert x.dtype == torch.float32
    by_part = dict(zip(column.parts, x.T.tolist(), strict=True))
    assert by_part["day"] == pytest.approx([0, 2])
    assert by_part["days"] == pytest.approx([0, 2])
    assert by_part["year"] == pytest.approx([0, 0])  # it never changed


def test_a_missing_date_stands_for_the_mean_of_each_part():
    column = work_out_column(table("2026-03-01", "2026-03-03", ""), "x", range(3), normalize=True)
    assert column.missing(table("2026-03-01", "", "n/a")) == [1, 2]
    assert column.encode(table(""))[0].tolist() == [0] * column.width
    unscaled = raw("2026-03-01", "2026-03-03", "")
    assert unscaled.encode(table(""))[0].tolist() == pytest.approx([2026, 3, 2, 3.5, 20514])


@pytest.mark.parametrize("text", ["2026-03-31 14:45", "1969-12-31 00:00", "2400-02-29 23:59"])
def test_a_row_says_its_date(text):
    column = work_out_column(table(text, "2026-01-05 10:00"), "x", [0, 1], normalize=True)
    assert column.decode(column.encode(table(text))[0]) == text


def test_a_row_without_times_says_its_day():
    column = raw("2026-03-31")
    assert column.decode(column.encode(table("2026-03-31"))[0]) == "2026-03-31"


def test_features_of_no_date_are_shown_as_numbers():
    column = DateColumn("x", ("month",), (0.0,), (1.0,), (0.0,))
    assert column.decode(torch.tensor([3.0])) == "month 3"
    assert raw("2026-03-31").decode(torch.full((5,), 1e9)).startswith("year 1e+09, month")


def test_a_day_that_is_in_no_calendar_is_named():
    with pytest.raises(ValueError, match=r"x must be a date like .*; a.csv:3 has '2026-02-30'"):
        raw("2026-03-31", "2026-02-30")
    with pytest.raises(ValueError, match=r"a.csv:2 has 'soon'. Correct it, or leave .*\['x'\]"):
        raw("2026-03-31").encode(table("soon"))


def test_training_rows_without_a_date():
    values = table("", "NA", "2026-03-31")
    with pytest.raises(ValueError, match=r"x has no date in the training rows of a\.csv"):
        work_out_column(values, "x", [1], normalize=True)


def test_the_column_comes_back():
    column = work_out_column(table("2026-03-31 14:45", "2026-01-05"), "x", [0, 1], normalize=True)
    assert column_from(column.to_dict()) == column
    assert column.width == len(PARTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": ["month", "century"]}, "parts must be one of .*century"),
        ({"parts": ["month", "month"]}, "parts"),
        ({"mean": [1.0]}, "must have one number for each of parts"),
        ({"std": [1.0, 0.0]}, "std"),
        ({"parts": [], "mean": [], "std": [], "fill": []}, "there must be one"),
    ],
)
def test_a_damaged_column(changed, message):
    stored = {
        "name": "x",
        "parts": ["month", "days"],
        "mean": [3.0, 0.0],
        "std": [1.0, 1.0],
        "fill": [3.0, 0.0],
    }
    assert column_from(stored).width == 2
    with pytest.raises(ValueError, match=message):
        column_from(stored | changed, "columns[0]")


@pytest.mark.parametrize(
    ("texts", "odd"),
    [
        (["2026-03-31", "3/4/2026", "NA"], "3/4/2026"),
        (["2026-03-31 14:30 CET"], "2026-03-31 14:30 CET"),
        (["2026-03-31"], None),
        (["3/4/2026", "red"], None),
        (["3.11.12", "3.12.10"], None),  # versions
    ],
)
def test_a_date_that_is_not_read(texts, odd):
    assert unread_date(texts) == odd


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("odd", ["31.3.2026", "3/31/26", "2026-03-31 2:30 PM"])
def test_dates_in_another_form_are_refused_however_few_there_are(odd, times):
    values = table(*["2026-04-01", odd] * times)
    with pytest.raises(ValueError, match=f"x must have its dates .*; a.csv:3 has '{odd}'"):
        work_out_column(values, "x", range(2 * times), normalize=True)


def test_a_slip_among_dates_is_named():
    values = [f"2026-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(60)]
    with pytest.raises(ValueError, match=r"a\.csv:62 has 'soon', which is no date\."):
        work_out_column(table(*values, "soon"), "x", range(61), normalize=True)
    column = work_out_column(table(*values, "NaT"), "x", range(60), normalize=True)
    assert column.missing(table("NaT", "2026-03-31")) == [0]

import re
from pathlib import Path

import pytest

from lehr.data.tables.columns import CategoryColumn, NumberColumn, column_from, work_out_column
from lehr.data.tables.text_table import TextTable


def table(*values):
    return TextTable(Path("a.csv"), {"x": list(values)}, list(range(2, 2 + len(values))))


def test_a_number_is_standardised_by_the_training_rows_alone():
    column = work_out_column(table("5", "7", "9", "700"), "x", [0, 1, 2], normalize=True)
    assert column == NumberColumn("x", 7.0, 2.0, 7.0)
    assert column.encode(table("7", "11", "NA")).tolist() == [[0], [2], [0]]
    other = work_out_column(table("5", "7", "9", "700"), "x", [0, 1, 3], normalize=True)
    assert other.mean != column.mean


def test_a_number_left_as_it_is_still_knows_the_mean():
    column = work_out_column(table("5", "9"), "x", [0, 1], normalize=False)
    assert column.encode(table("5", "")).tolist() == [[5], [7]]


def test_a_number_that_never_changes():
    column = work_out_column(table(*["0.1"] * 7), "x", range(7), normalize=True)
    assert column.std == 1
    assert abs(float(column.encode(table("0.1")))) < 1e-6


def test_categories():
    column = work_out_column(table("red", "blue", "", "7"), "x", [0, 1], normalize=True)
    assert column == CategoryColumn("x", ("7", "blue", "red"))
    x = column.encode(table("red", "", "7"))
    assert x.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert [column.decode(row) for row in x] == ["red", "–", "7"]
    assert column.missing(table("", "?")) == [0]


def test_an_unknown_category():
    with pytest.raises(ValueError, match=r"x must be one of a, b; a.csv:3 has 'c'. Correct it"):
        CategoryColumn("x", ("a", "b")).encode(table("a", "c"))


def test_numbers_decode():
    column = NumberColumn("x", 5.0, 2.0, 5.0)
    assert column.decode(column.encode(table("5.12"))[0]) == "5.12"
    assert column.missing(table("1", "?", "")) == [1, 2]


@pytest.mark.parametrize("column", [NumberColumn("x", 5.0, 2.0, 4.0), CategoryColumn("x", ("a",))])
def test_columns_come_back(column):
    assert column_from(column.to_dict()) == column
    assert column.width == 1


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (3, "a column of numbers must be a dict; got 3"),
        (
            {"name": "x"},
            "a column of numbers must have the fields name, mean, std, fill; missing: mean",
        ),
        ({"name": "x", "values": ["a", "a"]}, "values must be different texts; got 'a' twice"),
        ({"name": "x", "mean": 0, "std": 0, "fill": 0}, "std must be a finite number above 0"),
    ],
)
def test_columns_that_do_not_come_back(stored, message):
    with pytest.raises(ValueError, match=message):
        column_from(stored)


def test_names_are_no_categories():
    values = [f"Owen {i}" for i in range(50)]
    with pytest.raises(
        ValueError, match=r"x has 50 different texts in 50 rows of a\.csv, too many"
    ):
        work_out_column(table(*values), "x", range(50), normalize=True)
    few = [f"Owen {i % 20}" for i in range(50)]
    assert work_out_column(table(*few), "x", range(50), normalize=True).width == 20


def test_a_slip_among_numbers_is_named():
    values = [*map(str, range(60)), "6o"]
    with pytest.raises(ValueError, match=r"a\.csv:62 has '6o', which is no number"):
        work_out_column(table(*values), "x", range(61), normalize=True)
    comma = [f"{i},5" for i in range(60)]
    with pytest.raises(ValueError, match=re.escape("numbers are written with a point")):
        work_out_column(table(*comma), "x", range(60), normalize=True)


def test_nothing_to_train_on():
    with pytest.raises(ValueError, match=r"x has no value in the training rows of a\.csv"):
        work_out_column(table("", "1"), "x", [0], normalize=True)
    with pytest.raises(ValueError, match=r"x has no number in the training rows of a\.csv"):
        work_out_column(table("NA", "1"), "x", [0], normalize=True)

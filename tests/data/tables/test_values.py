import math
from pathlib import Path

import pytest
import torch

from lehr.data.tables.text_table import TextTable
from lehr.data.tables.values import (
    is_numeric,
    listed,
    nearly_all_differ,
    parse_number,
    read_numbers,
    without_value,
)


@pytest.mark.parametrize("text", ["", "NA", "n/a", "NaN", "null", "None", "?", "-"])
def test_words_for_a_missing_number(text):
    assert math.isnan(parse_number(text))


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("-2.5e3", -2500), ("inf", math.inf), ("1_000", None), ("1,5", None)],
)
def test_numbers(text, number):
    assert parse_number(text) == number


def test_a_column_is_numeric_if_nothing_speaks_against_it():
    assert is_numeric(["1", "?", "2.5"])
    assert not is_numeric(["1", "two"])
    assert not is_numeric(["?", ""])


def test_missing_words_are_texts_among_texts():
    assert without_value(["none", "red", ""], numeric=False) == [2]
    assert without_value(["none", "1", ""], numeric=True) == [0, 2]


def test_read_numbers():
    table = TextTable(Path("a.csv"), {"x": ["1", "", "2.5"]}, [2, 3, 4])
    numbers = read_numbers(table, "x")
    assert numbers.dtype == torch.float64
    assert numbers.nan_to_num(-1).tolist() == [1, -1, 2.5]


@pytest.mark.parametrize("text", ["red", "inf", "1e39"])
def test_read_what_is_no_number(text):
    table = TextTable(Path("a.csv"), {"x": ["1", text]}, [2, 3])
    with pytest.raises(ValueError, match=f"x must be a number of at most .* a.csv:3 has '{text}'"):
        read_numbers(table, "x")


def test_how_many_different_values_are_names_of_rows():
    assert nearly_all_differ(21, 41)
    assert not nearly_all_differ(21, 42)
    assert not nearly_all_differ(20, 20)


def test_listed():
    assert listed(["a"]) == "a"
    assert listed([str(i) for i in range(12)]).endswith("8, 9 and 2 more")

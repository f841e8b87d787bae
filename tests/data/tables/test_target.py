from pathlib import Path

import pytest

from lehr.data.tables.target import class_names, is_regression, labels, whole_number
from lehr.data.tables.text_table import TextTable


def table(*values):
    return TextTable(Path("a.csv"), {"y": list(values)}, list(range(2, 2 + len(values))))


@pytest.mark.parametrize(
    ("text", "name"),
    [("007", "7"), ("3.0", "3"), ("-1", "-1"), ("9007199254740993", "9007199254740993")],
)
def test_whole_numbers(text, name):
    assert whole_number(text) == name


@pytest.mark.parametrize("text", ["1.5", "inf", "", "NA", "red"])
def test_no_whole_numbers(text):
    assert whole_number(text) is None


def test_what_is_predicted():
    assert is_regression(table("1", "2.5"), "y")
    assert not is_regression(table("1", "2.0"), "y")
    assert not is_regression(table("1", "red"), "y")
    assert is_regression(table("1", "2"), "y", True)
    assert not is_regression(table("1", "2.5"), "y", False)


def test_many_whole_numbers_are_amounts_and_a_warning_says_so():
    prices = table(*map(str, range(1000, 1101)))
    with pytest.warns(
        UserWarning,
        match=r"^y is predicted as a number, because a\.csv has 101 different whole numbers of it "
        r"in 101 rows\. To predict classes, give regression=False; regression=True says that",
    ):
        assert is_regression(prices, "y")
    with pytest.warns(UserWarning, match="has 101 different whole numbers of it in 1010 rows"):
        assert is_regression(table(*[str(i % 101) for i in range(1010)]), "y")
    assert is_regression(prices, "y", True)  # who has decided is not warned
    assert not is_regression(prices, "y", False)
    assert not is_regression(table(*[str(i % 20) for i in range(50)]), "y")
    assert not is_regression(table(*[str(i % 100) for i in range(1000)]), "y")


def test_regression_needs_numbers():
    with pytest.raises(
        ValueError, match=r"y must be numbers for regression=True; a\.csv:3 has 'red'"
    ):
        is_regression(table("1", "red"), "y", True)


def test_names_of_classes():
    assert class_names(table("10", "9", "10", "-1"), "y") == ("-1", "9", "10")
    assert class_names(table("1.0", "0", "1"), "y") == ("0", "1")
    assert class_names(table("b", "10", "9"), "y") == ("10", "9", "b")


def test_too_few_and_too_many_classes():
    with pytest.raises(ValueError, match=r"y must have at least two different values .* only 'a'"):
        class_names(table("a", "a"), "y")
    with pytest.raises(ValueError, match=r"y must have several rows to a class; .* 30 different"):
        class_names(table(*[f"n{i}" for i in range(30)]), "y")


def test_labels():
    assert labels(table("10", "9.0"), "y", ("9", "10")).tolist() == [1, 0]
    assert labels(table("b", "a"), "y", ("a", "b")).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"y must be one of the classes a, b; a.csv:3 has 'c'"):
        labels(table("b", "c"), "y", ("a", "b"))

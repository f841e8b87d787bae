from pathlib import Path

import pytest

from lehr.data.tables.missing_values import check_policy, keep_rows
from lehr.data.tables.text_table import TextTable

TABLE = TextTable(Path("a.csv"), {"x": ["1", "", "3"], "y": ["a", "b", ""]}, [2, 3, 4])
HOLES = {"x": [1], "y": [2]}


def test_nothing_is_missing():
    for policy in ("error", "mean", "drop"):
        assert keep_rows(TABLE, policy, {"x": [], "y": []}) is TABLE


def test_an_error_names_column_count_and_line():
    with pytest.raises(
        ValueError, match=r"x must have a value in every row; 1 of 3 have none, the first a.csv:3\."
    ) as caught:
        keep_rows(TABLE, "error", HOLES)
    assert "missing='mean' fills them, missing='drop'" in str(caught.value)


def test_what_can_be_filled_is_kept_and_a_target_cannot():
    assert keep_rows(TABLE, "mean", HOLES) is TABLE
    with pytest.raises(ValueError, match="y must have a value in every row; 1 of 3") as caught:
        keep_rows(TABLE, "mean", HOLES, target="y")
    assert "missing='mean'" not in str(caught.value)


def test_dropped_rows_are_told():
    with pytest.warns(UserWarning, match=r"a.csv: 2 of 3 rows are left out.*\(x in 1, y in 1\)"):
        kept = keep_rows(TABLE, "drop", HOLES)
    assert kept == TABLE.take([0])


def test_dropping_all():
    with pytest.raises(
        ValueError, match=r"missing='drop' would leave out every row of a\.csv: x in"
    ):
        keep_rows(TABLE, "drop", {"x": [0, 1], "y": [2]})


def test_the_policies():
    assert check_policy("drop") == "drop"
    with pytest.raises(ValueError, match="missing must be one of error, mean, drop; got 'droop'"):
        check_policy("droop")

"""What happens to the rows of a table that lack a value: refused, filled or left out."""

import warnings
from collections.abc import Mapping, Sequence

from lehr.data.tables.text_table import TextTable
from lehr.errors import did_you_mean

POLICIES = {
    "error": "a missing value is an error",
    "mean": "a number becomes the training mean, a category none",
    "drop": "the row is left out, with a warning",
}


def check_policy(missing: str) -> str:
    """``missing`` if it is one of `POLICIES`.

    Raises:
        ValueError: it is none.

    Example:
        >>> check_policy("mean")
        'mean'
    """
    if missing not in POLICIES:
        raise ValueError(
            f"missing must be one of {', '.join(POLICIES)}; got {missing!r}. "
            f"{did_you_mean(str(missing), POLICIES)}"
        )
    return missing


def keep_rows(
    table: TextTable,
    missing: str,
    holes: Mapping[str, Sequence[int]],
    *,
    target: str | None = None,
    settled: bool = False,
) -> TextTable:
    """The table without the rows that the policy leaves out.

    Args:
        table: all rows.
        missing: the policy.
        holes: for each column the rows without a value.
        target: the column that cannot be filled.
        settled: whether the policy is that of an earlier training.

    Raises:
        ValueError: the policy allows no missing value there, or no row is left.

    Example:
        >>> from pathlib import Path
        >>> table = TextTable(Path("a.csv"), {"x": ["1", "2"]}, [2, 3])
        >>> len(keep_rows(table, "error", {"x": []}))
        2
    """
    holes = {name: rows for name, rows in holes.items() if rows}
    if missing == "drop" and holes:
        return _without(table, holes, target)
    for name, rows in holes.items():
        if missing == "error" or name == target:
            fill = "" if name == target else " missing='mean' fills them,"
            raise ValueError(
                f"{name} must have a value in every row; {len(rows)} of {len(table)} have none, "
                f"the first {table.place(rows[0])}. Correct them, or "
                f"{'train anew' if settled else 'ask for it'}:{fill} "
                "missing='drop' leaves the rows out."
            )
    return table


def _without(table: TextTable, holes: Mapping[str, Sequence[int]], target: str | None) -> TextTable:
    others = [name for name in holes if name != target]
    todo = f"Fill them by missing='mean', or leave columns out by exclude={others}."
    todo = f" {todo}" if others else ""
    dropped = {row for rows in holes.values() for row in rows}
    counts = ", ".join(f"{name} in {len(rows)}" for name, rows in holes.items())
    if len(dropped) == len(table):
        raise ValueError(
            f"missing='drop' would leave out every row of {table.path.name}: {counts} have no "
            f"value.{todo}"
        )
    warnings.warn(
        f"{table.path.name}: {len(dropped)} of {len(table)} rows are left out, because a value is "
        f"missing ({counts}).{todo}",
        stacklevel=2,
    )
    return table.take([i for i in range(len(table)) if i not in dropped])

"""The values of a table's columns: which are numbers, which are missing."""

import math
import reprlib
from collections.abc import Sequence

import torch
from torch import Tensor

from lehr.data.tables.text_table import TextTable

MISSING = frozenset({"", "na", "n/a", "nan", "nat", "null", "none", "?", "-"})
"""What stands for a missing value among numbers and dates, in lower case."""

_MOST = torch.finfo(torch.float32).max


def parse_number(text: str) -> float | None:
    """``text`` as a number; nan where a value is missing, None where it is no number.

    Missing is an empty value, and among numbers also NA, N/A, nan, NaT, null, none, ? and -.

    Example:
        >>> parse_number("5.1"), parse_number("NA"), parse_number("red")
        (5.1, nan, None)
    """
    if text.lower() in MISSING:
        return math.nan
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def read_numbers(table: TextTable, name: str, *, target: bool = False) -> Tensor:
    """A column as float64 ``(rows,)``, with nan where a value is missing.

    Args:
        table: the rows.
        name: of the column.
        target: whether it is to be predicted: then it cannot be left out.

    Raises:
        ValueError: a value is no number, or beyond float32; the line is named.

    Example:
        >>> from pathlib import Path
        >>> read_numbers(TextTable(Path("a.csv"), {"x": ["5", ""]}, [2, 3]), "x")
        tensor([5., nan], dtype=torch.float64)
    """
    numbers: list[float] = []
    for row, text in enumerate(table.columns[name]):
        number = parse_number(text)
        if number is None or abs(number) > _MOST:
            leave = "take out that row" if target else f"leave the column out by exclude={[name]}"
            raise ValueError(
                f"{name} must be a number of at most {_MOST:.2g}; {table.place(row)} has "
                f"{reprlib.repr(text)}. Correct it, or {leave}."
            )
        numbers.append(number)
    return torch.tensor(numbers, dtype=torch.float64)


def is_numeric(values: Sequence[str]) -> bool:
    """Whether every value that is there is a number, and one is.

    Example:
        >>> is_numeric(["5.1", "NA"]), is_numeric(["5.1", "red"]), is_numeric([""])
        (True, False, False)
    """
    numbers = [parse_number(text) for text in values]
    return None not in numbers and any(number == number for number in numbers)


def without_value(values: Sequence[str], *, numeric: bool) -> list[int]:
    """The rows whose value is missing; among numbers there are words for that.

    Example:
        >>> without_value(["1", "", "NA"], numeric=True), without_value(["", "NA"], numeric=False)
        ([1, 2], [0])
    """
    words = MISSING if numeric else {""}
    return [i for i, text in enumerate(values) if text.lower() in words]


def nearly_all_differ(different: int, rows: int) -> bool:
    """Whether a column looks like names of the rows rather than of groups of them.

    Example:
        >>> nearly_all_differ(30, 40), nearly_all_differ(30, 400), nearly_all_differ(4, 4)
        (True, False, False)
    """
    return different > 20 and 2 * different > rows


def listed(values: Sequence[str]) -> str:
    """The first ten of many names, and how many more there are.

    Example:
        >>> listed(["red", "blue"]), listed("abcdefghijkl")
        ('red, blue', 'a, b, c, d, e, f, g, h, i, j and 2 more')
    """
    return ", ".join(values[:10]) + (f" and {len(values) - 10} more" if len(values) > 10 else "")

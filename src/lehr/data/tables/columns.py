"""The columns of a table as features: a number, one feature for each category, parts of dates."""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from lehr.data.array_sets.scale import mean_and_std, undone
from lehr.data.tables.dates import DateColumn, are_dates, are_mostly_dates, unread_date
from lehr.data.tables.text_table import TextTable
from lehr.data.tables.values import (
    MISSING,
    is_numeric,
    listed,
    nearly_all_differ,
    read_numbers,
    without_value,
)
from lehr.types import is_mapping


@final
@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, as ``(value - mean) / std``.

    Args:
        name: of the column.
        mean: of the training rows; 0 leaves values as they are.
        std: of the training rows; 1 leaves values as they are.
        fill: what stands in for a missing value.

    Example:
        >>> from pathlib import Path
        >>> table = TextTable(Path("a.csv"), {"x": ["5", "8"]}, [2, 3])
        >>> NumberColumn("x", mean=5.0, std=2.0, fill=5.0).encode(table).tolist()
        [[0.0], [1.5]]
    """

    name: str
    mean: float
    std: float
    fill: float

    @property
    def width(self) -> int:
        """How many features it makes."""
        return 1

    def missing(self, table: TextTable) -> list[int]:
        """The rows without a value."""
        return without_value(table.columns[self.name], numeric=True)

    def encode(self, table: TextTable) -> Tensor:
        """The feature of each row, float32 ``(rows, 1)``.

        Raises:
            ValueError: a value is no number, or beyond float32.
        """
        values = read_numbers(table, self.name)
        values = torch.where(values.isnan(), self.fill, values)
        return ((values - self.mean) / self.std).float()[:, None]  # (rows, 1)

    def decode(self, x: Tensor) -> str:
        """The value that made this feature."""
        return undone(float(x[0]), self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Text and numbers that say everything."""
        return {"name": self.name, "mean": self.mean, "std": self.std, "fill": self.fill}


@final
@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories: one feature for each, 1 where the value is that category.

    Args:
        name: of the column.
        values: the categories, in the order of the features.

    Example:
        >>> from pathlib import Path
        >>> table = TextTable(Path("a.csv"), {"colour": ["red", ""]}, [2, 3])
        >>> CategoryColumn("colour", ("blue", "red")).encode(table).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """

    name: str
    values: tuple[str, ...]

    @property
    def width(self) -> int:
        """How many features it makes."""
        return len(self.values)

    def missing(self, table: TextTable) -> list[int]:
        """The rows without a value."""
        return without_value(table.columns[self.name], numeric=False)

    def encode(self, table: TextTable) -> Tensor:
        """The features of each row, float32 ``(rows, categories)``; zeros for a missing value.

        Raises:
            ValueError: a category is none of `values`.
        """
        codes = {value: code for code, value in enumerate(self.values)}
        x = torch.zeros(len(table), self.width)
        for row, text in enumerate(table.columns[self.name]):
            if text and text not in codes:
                raise ValueError(
                    f"{self.name} must be one of {listed(self.values)}; {table.place(row)} has "
                    f"{reprlib.repr(text)}. Correct it, or train on data that have it."
                )
            if text:
                x[row, codes[text]] = 1
        return x

    def decode(self, x: Tensor) -> str:
        """The category that made these features; a dash where it is missing."""
        return self.values[int(x.argmax())] if float(x.max()) > 0.5 else "–"

    def to_dict(self) -> dict[str, Any]:
        """Text that says everything."""
        return {"name": self.name, "values": list(self.values)}


Column = NumberColumn | CategoryColumn | DateColumn


def column_from(stored: Any, at: str = "") -> Column:
    """The column that ``to_dict`` was called on.

    Args:
        stored: what it made.
        at: where it is, for the messages, like ``"columns[2]"``.

    Raises:
        ValueError: a field is missing, unknown, of another type or out of range.

    Example:
        >>> column_from({"name": "colour", "values": ["blue", "red"]}).width
        2
    """
    from lehr.data.stored_fields import TODO, CategoryFields, DateFields, NumberFields

    if is_mapping(stored) and "parts" in stored:
        fields = DateFields.read(stored, "a column of dates", at=at, todo=TODO)
        return DateColumn(**fields.to_dict())
    if is_mapping(stored) and "values" in stored:
        fields = CategoryFields.read(stored, "a column of categories", at=at, todo=TODO)
        return CategoryColumn(**fields.to_dict())
    fields = NumberFields.read(stored, "a column of numbers", at=at, todo=TODO)
    return NumberColumn(**fields.to_dict())


def work_out_column(table: TextTable, name: str, train: Sequence[int], normalize: bool) -> Column:
    """What a column is, from all its values; its mean and deviation from the training rows.

    Args:
        table: all rows.
        name: of the column.
        train: the rows to train on.
        normalize: else numbers stay as they are.

    Raises:
        ValueError: it has no value to train on, too many different texts to be categories, or a
            date that is not in the calendar.

    Example:
        >>> from pathlib import Path
        >>> table = TextTable(Path("a.csv"), {"x": ["5", "9", "70"]}, [2, 3, 4])
        >>> work_out_column(table, "x", [0, 1], normalize=True).mean
        7.0
    """
    values = table.columns[name]
    if not any(values) or not any(values[i] for i in train):
        raise ValueError(
            f"{name} has no value in the training rows of {table.path.name}. Leave the column out "
            f"by exclude={[name]}."
        )
    if are_dates(values):
        return DateColumn.work_out(table, name, train, normalize)
    if not is_numeric(values):
        return CategoryColumn(name, _categories(table, name))
    numbers = read_numbers(table, name)[torch.as_tensor(train, dtype=torch.int64)]
    known = numbers[~numbers.isnan()]
    if not len(known):
        raise ValueError(
            f"{name} has no number in the training rows of {table.path.name}. Leave the column "
            f"out by exclude={[name]}."
        )
    mean, std = mean_and_std(known[:, None])
    fill = mean[0]
    return NumberColumn(name, *((mean[0], std[0]) if normalize else (0.0, 1.0)), fill)


def _categories(table: TextTable, name: str) -> tuple[str, ...]:
    values = table.columns[name]
    texts = sorted({text for text in values if text})
    leave = f"leave the column out by exclude={[name]}"
    if (date := unread_date(texts)) is not None:
        raise ValueError(
            f"{name} must have its dates written like 2026-03-31 or 2026-03-31 14:30, the year "
            f"first; {table.place(values.index(date))} has {reprlib.repr(date)}. Write all of them "
            f"so, and each becomes its year, month, day and weekday; or {leave}."
        )
    if len(texts) <= 100 and not nearly_all_differ(len(texts), len(values)):
        return tuple(texts)
    dates = are_mostly_dates(texts)
    odd = next(
        i
        for i, text in enumerate(values)
        if text.lower() not in MISSING and not (are_dates([text]) if dates else is_numeric([text]))
    )
    comma = "; numbers are written with a point" if values[odd].count(",") == 1 else ""
    raise ValueError(
        f"{name} has {len(texts)} different texts in {len(values)} rows of {table.path.name}, too "
        f"many for categories; {table.place(odd)} has {reprlib.repr(values[odd])}, which is no "
        f"{'date' if dates else f'number{comma}'}. Correct it, or {leave}."
    )

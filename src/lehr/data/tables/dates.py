"""A column of dates as features: the parts of a date that matter, a number each."""

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, final

import torch
from torch import Tensor

from lehr.data.array_sets.scale import mean_and_std
from lehr.data.tables.text_table import TextTable
from lehr.data.tables.values import MISSING, without_value

_YEAR_FIRST = re.compile(
    r"(\d{4})([-/.])(\d\d?)\2(\d\d?)"  # 2026-03-31
    r"(?:[T ]+(\d\d?):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?)?"  # 14:30, 14:30:59, 14:30:59.123
    r"(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"  # where the clock stood, which is passed over
)
_ANY_ORDER = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?\b"
    r"|\d\d?[-/]\d\d?[-/]\d{2,4}\b"
    r"|\d\d?\.\d\d?\.(?:19|20)\d\d\b"  # 3.11.12 may be the number of a version
)
_EPOCH = date(1970, 1, 1).toordinal()

PARTS: Mapping[str, Callable[[datetime], float]] = {
    "year": lambda at: at.year,
    "month": lambda at: at.month,
    "day": lambda at: at.day,
    "weekday": lambda at: at.weekday(),
    "days": lambda at: at.toordinal() - _EPOCH,
    "hour": lambda at: at.hour + at.minute / 60 + at.second / 3600,
}
"""What a date is made into: `weekday` is 0 on Mondays, `days` are those since 1970-01-01."""


def are_dates(values: Sequence[str]) -> bool:
    """Whether every value that is there is written as a date, the year first, and one is.

    Example:
        >>> are_dates(["2026-03-31", "", "2026-04-01 14:30"]), are_dates(["31.3.2026"])
        (True, False)
    """
    absent = {*without_value(values, numeric=True)}
    known = [text for row, text in enumerate(values) if row not in absent]
    return bool(known) and all(map(_YEAR_FIRST.fullmatch, known))


def unread_date(texts: Sequence[str]) -> str | None:
    """The first that is not read as a date, among texts that all look like dates.

    Example:
        >>> unread_date(["2026-03-31", "1/4/26"]), unread_date(["2026-03-31 14:30 CET"])
        ('1/4/26', '2026-03-31 14:30 CET')
        >>> unread_date(["2026-03-31", "red"]) is None
        True
    """
    known = [text for text in texts if text.lower() not in MISSING]
    if not all(map(_ANY_ORDER.match, known)):
        return None
    return next((text for text in known if not _YEAR_FIRST.fullmatch(text)), None)


def are_mostly_dates(texts: Sequence[str]) -> bool:
    """Whether more than half are written as dates, the year first.

    Example:
        >>> are_mostly_dates(["2026-03-31", "2026-04-01", "soon"])
        True
    """
    return 2 * len([*filter(_YEAR_FIRST.fullmatch, texts)]) > len(texts)


def read_dates(table: TextTable, name: str) -> list[datetime | None]:
    """The dates of a column; None where a value is missing.

    Raises:
        ValueError: a value is no date of the calendar, or is not written with the year first.

    Example:
        >>> from pathlib import Path
        >>> read_dates(TextTable(Path("a.csv"), {"day": ["2026-03-31", ""]}, [2, 3]), "day")
        [datetime.datetime(2026, 3, 31, 0, 0), None]
    """
    values = table.columns[name]
    absent = {*without_value(values, numeric=True)}
    dates: list[datetime | None] = []
    for row, text in enumerate(values):
        at = None if row in absent else _parsed(text)
        if at is None and row not in absent:
            raise ValueError(
                f"{name} must be a date like 2026-03-31 or 2026-03-31 14:30; {table.place(row)} "
                f"has {reprlib.repr(text)}. Correct it, or leave the column out by "
                f"exclude={[name]}."
            )
        dates.append(at)
    return dates


def _parsed(text: str) -> datetime | None:
    found = _YEAR_FIRST.fullmatch(text)
    if found is None:
        return None
    year, _, month, day, *clock = found.groups(default="0")
    try:
        return datetime(*map(int, (year, month, day, *clock)))  # pyright: ignore[reportArgumentType]
    except ValueError:  # 2026-02-30
        return None


@final
@dataclass(frozen=True)
class DateColumn:
    """A column of dates, as ``(part - mean) / std`` of each of some parts of a date.

    A date is written with the year first, ``2026-03-31`` or ``2026-03-31 14:30``; a time is taken
    as it is written, wherever the clock stood.

    Args:
        name: of the column.
        parts: names out of `PARTS`, in the order of the features.
        mean: of each part over the training rows; 0 leaves values as they are.
        std: the same; 1 leaves values as they are.
        fill: what stands in for each part of a missing date.

    Example:
        >>> from pathlib import Path
        >>> table = TextTable(Path("a.csv"), {"day": ["2026-03-31"]}, [2])
        >>> column = DateColumn("day", ("month", "days"), (1.0, 0.0), (2.0, 1.0), (1.0, 0.0))
        >>> column.encode(table).tolist(), column.decode(column.encode(table)[0])
        ([[1.0, 20543.0]], '2026-03-31')
    """

    name: str
    parts: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[float, ...]

    @classmethod
    def work_out(
        cls, table: TextTable, name: str, train: Sequence[int], normalize: bool
    ) -> "DateColumn":
        """The column of a table; the hour is a part of it if any date has one.

        Raises:
            ValueError: a value is no date of the calendar, or no training row has one.
        """
        dates = read_dates(table, name)
        has_time = any(at and (at.hour or at.minute or at.second) for at in dates)
        parts = tuple(part for part in PARTS if part != "hour" or has_time)
        known = [_numbers(at, parts) for row in train if (at := dates[row])]
        if not known:
            raise ValueError(
                f"{name} has no date in the training rows of {table.path.name}. Leave the column "
                f"out by exclude={[name]}."
            )
        mean, std = mean_and_std(torch.tensor(known, dtype=torch.float64))
        nothing = (0.0,) * len(parts), (1.0,) * len(parts)
        return cls(name, parts, *((mean, std) if normalize else nothing), mean)

    @property
    def width(self) -> int:
        """How many features it makes."""
        return len(self.parts)

    def missing(self, table: TextTable) -> list[int]:
        """The rows without a value."""
        return without_value(table.columns[self.name], numeric=True)

    def encode(self, table: TextTable) -> Tensor:
        """The features of each row, float32 ``(rows, parts)``.

        Raises:
            ValueError: a value is no date of the calendar, or is not written with the year first.
        """
        rows = [
            self.fill if at is None else _numbers(at, self.parts)
            for at in read_dates(table, self.name)
        ]
        x = torch.tensor(rows, dtype=torch.float64).view(len(rows), self.width)
        mean, std = (
            torch.tensor(numbers, dtype=torch.float64) for numbers in (self.mean, self.std)
        )
        return ((x - mean) / std).float()

    def decode(self, x: Tensor) -> str:
        """The date that made these features, with hours and minutes if they are a part."""
        rows = zip(self.parts, x, self.mean, self.std, strict=True)
        numbers = {part: float(value) * std + mean for part, value, mean, std in rows}
        day = round(numbers["days"]) + _EPOCH if "days" in numbers else 0
        if not date.min.toordinal() <= day <= date.max.toordinal():
            return ", ".join(f"{part} {number:g}" for part, number in numbers.items())
        text = str(date.fromordinal(day))
        if "hour" not in numbers:
            return text
        minutes = max(0, min(round(numbers["hour"] * 60), 24 * 60 - 1))
        return f"{text} {minutes // 60:02}:{minutes % 60:02}"

    def to_dict(self) -> dict[str, Any]:
        """Text and numbers that say everything."""
        return {
            "name": self.name,
            "parts": list(self.parts),
            "mean": list(self.mean),
            "std": list(self.std),
            "fill": list(self.fill),
        }


def _numbers(at: datetime, parts: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(PARTS[part](at)) for part in parts)

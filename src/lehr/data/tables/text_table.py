"""Reads a CSV or TSV file as text, by columns, with the line that each row came from."""

import csv
import io
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from lehr.base.paths import path_of
from lehr.base.reading import read_plain

_DELIMITERS = ",;\t"


@final
@dataclass(frozen=True)
class TextTable:
    """A table as it was written: nothing is a number yet.

    Args:
        path: the file, for messages.
        columns: the values of each column, by its name.
        lines: the line in the file of each row.

    Example:
        >>> table = TextTable(Path("a.csv"), {"x": ["1", "2"]}, [2, 3])
        >>> len(table), table.place(1), table.take([1]).columns
        (2, 'a.csv:3', {'x': ['2']})
    """

    path: Path
    columns: Mapping[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Where a row stands, like ``flowers.csv:2``."""
        return f"{self.path.name}:{self.lines[row]}"

    def take(self, rows: Sequence[int]) -> "TextTable":
        """The table of these rows alone."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        return TextTable(self.path, columns, [self.lines[i] for i in rows])


def read_text_table(path: str | Path) -> TextTable:
    """The table in a file of comma-, semicolon- or tab-separated values.

    The delimiter is the one that cuts the first line into the most columns. Spaces around a value
    do not count, and empty lines are passed over.

    Args:
        path: in UTF-8, with or without a byte-order mark; the first line names the columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, or empty, or a line has too few or too many values, or a
            column has no name or another's.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "sizes.csv")
        ...     _ = file.write_text("size;colour\\n5.1;red\\n4.9;blue\\n")
        ...     read_text_table(file).columns
        {'size': ['5.1', '4.9'], 'colour': ['red', 'blue']}
    """
    path = path_of(path)
    text = _text(path)
    if not text.strip():
        raise ValueError(f"{path} must name its columns in the first line; it is empty.")
    records = _records(path, text, _delimiter(text))
    first_line, names = next(records)
    _check_names(path, first_line, names)
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in records:
        if len(row) != len(names):
            raise ValueError(
                f"{path}, line {line} must have {len(names)} values, as many as there are columns; "
                f"got {len(row)}. Correct the line; a value that holds the delimiter needs quotes."
            )
        rows.append(row)
        lines.append(line)
    if not rows:
        raise ValueError(f"{path} must have rows below its column names; it has none. Add some.")
    columns = {
        name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    return TextTable(path, columns, lines)


def _text(path: Path) -> str:
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "is not there"
        raise FileNotFoundError(f"{path} must be a file of a table; it {what}. Check the path.")
    content = read_plain(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} must be text in UTF-8; line {line} has the byte 0x{content[error.start]:02x}. "
            "Save it as CSV in UTF-8, e.g. from the spreadsheet or editor that made it."
        ) from error


def _delimiter(text: str) -> str:
    first = text.lstrip().split("\n", 1)[0]
    return max(_DELIMITERS, key=lambda delimiter: _count(first, delimiter))


def _count(line: str, delimiter: str) -> int:
    """How many values a delimiter cuts a line into; 0 if one is longer than any may be."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter)))
    except csv.Error:
        return 0


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, with the line on which it begins."""
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for record in reader:
            values = [value.strip() for value in record]
            if record and (len(record) > 1 or values[0]):
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {line} cannot be read: {error}. Correct the line; quotes inside a "
            "quoted value are doubled."
        ) from error


def _check_names(path: Path, line: int, names: list[str]) -> None:
    place: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise ValueError(
                f"{path}, line {line} must name every column; column {number} has no name. Name "
                "it, or write the file without it (pandas: index=False)."
            )
        if name in place:
            raise ValueError(
                f"{path}, line {line} must name every column differently; "
                f"{reprlib.repr(name)} names columns {place[name]} and {number}. Rename one of "
                "them."
            )
        place[name] = number

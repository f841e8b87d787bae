"""Writes the rows of the history to a table on disk while the fit goes on."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from lehr.callback import Callback
from lehr.callbacks.log.row_log import RowLog
from lehr.events import Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


class CSVLog(RowLog, Callback):
    """Adds a line to a CSV file for every finished row of the history, as ``History.to_csv`` would.

    A row is on disk when the event that finished it is over, so a process that is killed leaves
    whole lines. A column that first appears later makes the file be rewritten with a wider header,
    in one move. Several fits with the same object go on in the same file, and so does a run that is
    resumed. After an error the row of the epoch it came in is left out. A file that cannot be
    written during the fit is treated as by `RowLog`.

    Args:
        path: of the file; its folder must exist.
        append: go on with an existing file, which must be such a table.
        safe: a text that a spreadsheet would take for a formula gets a quote before it, as with
            ``History.to_csv(safe=True)``; numbers stay numbers.

    Raises:
        TypeError: ``path`` is no path.
        OSError: at the start of a fit, if the file cannot be written, or is there already and
            ``append`` is false (`FileExistsError`).
        ValueError: at the start of a fit, if the file to go on with is no table.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "history.csv")
        ...     run = tiny_learner().fit(2, callbacks=[CSVLog(path)])
        ...     path.read_text().splitlines()[0]
        'epoch,step,train_loss,valid_loss,seconds'
    """

    phase = Phase.REPORT
    replays = False
    everywhere = False
    state = ("written",)

    def __init__(self, path: str | Path, *, append: bool = False, safe: bool = False) -> None:
        super().__init__(path, append=append)
        self.safe = safe

    def begin_fit(self, run: "Run") -> None:
        """Open the file; the state of a run that is resumed says what is in it."""
        self._columns, self._records, self._crc = list[str](), 0, -1
        super().begin_fit(run)

    def begin(self, run: "Run") -> None:
        """Read the header of a table to go on with."""
        self._know(self._table())

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Add a line for each row, or widen the table first."""
        if self.safe:
            from lehr.base.terminal import safe_cell

            rows = [{safe_cell(name): safe_cell(x) for name, x in row.items()} for row in rows]
        had = self._columns
        columns = list(dict.fromkeys([*had, *(name for row in rows for name in row)]))
        cells = [[row.get(name) for name in columns] for row in rows]
        if columns == had:
            text = _lines(cells)
            self.file.write(text)
            self._records += len(rows)
            self._crc = crc32(text.encode(), self._crc)
        else:
            wider = [""] * (len(columns) - len(had))
            table = [columns, *([*old, *wider] for old in self._table()[1:]), *cells]
            self.file.replace(_lines(table))
            self._know(table)

    def mark(self) -> dict[str, Any]:
        """What `cut` needs to know: a table that was widened since has other bytes."""
        return {"columns": self._columns, "records": self._records, "crc": self._crc}

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Let go of the lines and the columns that were written after `mark` was called.

        Raises:
            ValueError: the file is not the one that was written then.
        """
        columns, records, crc = mark["columns"], mark["records"], mark["crc"]
        known = vars(self).get("_crc") == crc and self._records == records
        if self.file.is_open and not (known and self._columns == columns):
            lines, width = _first(records, self.file.read_bytes()), len(columns)
            seen = f"it has {max(len(lines) - 1, 0)} of {records - 1} rows"
            self.file.require(len(lines) == records, seen)
            table = [[*line, *[""] * (width - len(line))][:width] for line in lines]
            later = any(any(line[width:]) for line in lines[1:])
            same = not later and crc32(_lines(table).encode()) == crc
            self.file.require(same, "it holds something else")
            self.file.replace(_lines(table))
        self._columns, self._records, self._crc = list(columns), records, crc

    def _know(self, table: Sequence[Sequence[Any]]) -> None:
        self._columns = [str(name) for name in table[0]] if table else []
        self._records, self._crc = len(table), crc32(_lines(table).encode())

    def _table(self) -> list[list[str]]:
        try:
            table = list(csv.reader(io.StringIO(self.file.read(), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error):
            table = [[""]]
        width = len(table[0]) if table else 0
        if table and (not all(table[0]) or any(len(line) > width for line in table)):
            raise ValueError(
                f"CSVLog cannot go on with {str(self.file.path)!r}: it is no table with a header. "
                "Give another path."
            )
        return [[*line, *[""] * (width - len(line))] for line in table]


def _first(records: int, data: bytes) -> list[list[str]]:
    """So many records of a table; whatever comes after them may be torn."""
    text = io.StringIO(data.decode("utf-8", errors="replace"), newline="")
    return list(islice(csv.reader(text), records))


def _lines(cells: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(cells)
    return text.getvalue()

"""Writes the rows of the history to a table on disk while the fit goes on."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.events import Phase
from lehr.log_file import RowLog

if TYPE_CHECKING:
    from lehr.run import Run


class CSVLog(RowLog, Callback):
    """Adds a line to a CSV file for every finished row of the history, as ``History.to_csv`` would.

    A row is on disk when the event that finished it is over, so a process that is killed leaves
    whole lines. A column that first appears later makes the file be rewritten with a wider header,
    in one move. Several fits with the same object go on in the same file. After an error the row of
    the epoch it came in is left out.

    Args:
        path: of the file; its folder must exist.
        append: go on with an existing file, which must be such a table.

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

    def begin_fit(self, run: "Run") -> None:
        """Open the file, and read the header of a table to go on with."""
        super().begin_fit(run)
        table = self._table()
        self._columns = table[0] if table else []

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Add a line for each row, or widen the table first."""
        had = len(self._columns)
        self._columns = list(
            dict.fromkeys([*self._columns, *(name for row in rows for name in row)])
        )
        cells = [[row.get(name) for name in self._columns] for row in rows]
        if len(self._columns) == had:
            self.file.write(_lines(cells))
        else:
            wider = [""] * (len(self._columns) - had)
            self.file.replace(
                _lines([self._columns, *([*old, *wider] for old in self._table()[1:]), *cells])
            )

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


def _lines(cells: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(cells)
    return text.getvalue()

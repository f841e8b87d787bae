"""Hands every finished row of the history to a file."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lehr.record.log_file import LogFile

if TYPE_CHECKING:
    from lehr.loop.run import Run


class RowLog:
    """The half of a callback that hands every finished row of the history to its file, once.

    The other half is ``write_rows(run, rows)``, which knows the format. Rows are handed over when
    the event that finished them is over, so that every listener has added what it wants to.

    What it has ``written`` is its state, which the callback declares. A run that goes on from it
    lets go of all lines that came later, and writes them anew; so each is there once, however often
    a run was resumed.

    A file that cannot be written any more, on a full disk for example, does not end the fit: a
    warning says so, and what is missing is handed over again with the next row. A run that is
    resumed meanwhile writes it, too.

    Args:
        path: of the file; its folder must exist.
        append: go on with an existing file.

    Raises:
        TypeError: ``path`` is no path.

    Example:
        >>> import tempfile
        >>> from lehr import Callback
        >>> from lehr.testing import tiny_learner
        >>> class Epochs(RowLog, Callback):
        ...     state = ("written",)
        ...     def write_rows(self, run, rows):
        ...         self.file.write("".join(f"{row['epoch']}\\n" for row in rows))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "epochs.txt")
        ...     run = tiny_learner([Epochs(path)]).fit(3)
        ...     path.read_text().split()
        ['0', '1', '2']
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.file = LogFile(path, append=append, owner=type(self).__name__)
        self._warned = False

    def begin_fit(self, run: "Run") -> None:
        """Open the file; a run that is resumed finds its own there."""
        self._handed, self._to_begin, self._warned = 0, True, False
        if not self._is_ready(run):
            self.file.open(resuming=True)

    def begin(self, run: "Run") -> None:
        """Look at what is in the file, and write what stands before the first row."""

    def _is_ready(self, run: "Run") -> bool:
        # Not as long as a state is to tell how far the file holds. Where there turns out to be no
        # such state, it is begun after all.
        if self._to_begin and not getattr(run, "resuming", False):
            self.file.open()
            self.begin(run)
            self._to_begin = False
        return not self._to_begin

    @property
    def written(self) -> dict[str, Any]:
        """How many rows were handed over, and what of the file was written."""
        self.attempt(self.file.sync)
        return {"rows": self._handed, "file": self.mark()}

    @written.setter
    def written(self, written: Mapping[str, Any]) -> None:
        self.cut(written["file"])
        self._handed, self._to_begin = written["rows"], False
        self.file.claim()

    def mark(self) -> dict[str, Any]:
        """What `cut` needs to know of what was written so far."""
        return self.file.mark()

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Let go of what was written after `mark` was called.

        Raises:
            ValueError: the file is not the one that was written then.
        """
        self.file.cut(mark)

    def after_validate(self, run: "Run") -> None:
        """Hand over a row that ends in the middle of an epoch."""
        run.defer(partial(self._hand_over, run))

    def after_epoch(self, run: "Run") -> None:
        """Hand over the epoch's row."""
        run.defer(partial(self._hand_over, run))

    def after_fit(self, run: "Run") -> None:
        """Hand over what is left."""
        run.defer(partial(self._hand_over, run, last=True))

    def _hand_over(self, run: "Run", *, last: bool = False) -> None:
        history = run.history
        rows = history.rows[self._handed :] if last else history.finished(self._handed)
        if rows and self._is_ready(run) and self.attempt(partial(self.write_rows, run, rows)):
            self._handed += len(rows)

    def attempt(self, write: Callable[[], object]) -> bool:
        """Whether something could be written; the first time that it cannot be, a warning says so.

        Args:
            write: raises OSError if the file cannot be written to.

        Raises:
            Exception: one that `forgiven` does not know.
        """
        try:
            write()
        except Exception as error:
            if (text := self.forgiven(error)) is None:
                raise
            if not self._warned:
                self._warned = True
                warnings.warn(text, stacklevel=2)
            return False
        return True

    def forgiven(self, error: Exception) -> str | None:
        """What a warning says of an error after which the fit goes on; None of any other.

        A file that cannot be written to is forgiven; one that is not this run's is not.
        """
        if not isinstance(error, OSError) or isinstance(error, FileExistsError):
            return None
        return (
            f"{error} The fit goes on, and what is missing in the file is written with a later "
            "row, if it can be."
        )

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Write rows that are finished, at least one: all of them or, with an error, none.

        Raises:
            OSError: the file cannot be written to.
            NotImplementedError: the other half is missing.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no write_rows, so its file would stay empty. "
            "Define write_rows(run, rows)."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.file.path)!r})"

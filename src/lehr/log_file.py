"""A file that grows by whole lines and is never overwritten unasked, and who fills it by rows."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lehr.run import Run


class LogFile:
    """Lines on disk: what was written is there, whatever becomes of the process.

    Args:
        path: of the file; its folder must exist.
        append: whether an existing file is gone on with.
        owner: who asks, for the messages.

    Raises:
        TypeError: ``path`` is no path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = LogFile(Path(folder, "log.txt"), append=False, owner="Demo")
        ...     file.open(); file.write("one\\n"); file.write("two\\n")
        ...     file.read()
        'one\\ntwo\\n'
    """

    def __init__(self, path: str | Path, *, append: bool, owner: str) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f'path must be the path of a file; got {path!r}. Write e.g. {owner}("runs/log").'
            )
        self.path, self.append, self.owner = Path(path), append, owner
        self._begun = False

    def open(self) -> None:
        """See that lines can be written, and that none of somebody else's would be lost.

        Opened again by the same object, the file is gone on with.

        Raises:
            FileExistsError: there is something in the file, and ``append`` is false.
            OSError: it cannot be written to.
        """
        self._target = self.path.resolve()  # also if the working folder changes during the fit
        try:
            with self._target.open("ab") as file:
                size = file.tell()
        except OSError as error:
            raise self._failure(error) from error
        if size and not self.append and not self._begun:
            raise FileExistsError(
                f"{self.owner} does not overwrite {str(self.path)!r}. Give another path, delete "
                "the file, or go on with it: append=True."
            )
        self._begun = True

    def read(self) -> str:
        """Everything in the file.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        return self._target.read_bytes().decode("utf-8")

    def write(self, text: str) -> None:
        """Add whole lines; a last line that was left unfinished is ended first.

        Raises:
            OSError: the file cannot be written to any more.
        """
        try:
            with self._target.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    text = text if file.read() == b"\n" else f"\n{text}"
                file.write(text.encode("utf-8"))
        except OSError as error:
            raise self._failure(error) from error

    def replace(self, text: str) -> None:
        """Put ``text`` in the place of everything: at every moment the old or the new is there.

        Raises:
            OSError: the file cannot be written to any more.
        """
        part = self._target.with_name(f"{self._target.name}.part")
        try:
            part.write_bytes(text.encode("utf-8"))
            part.replace(self._target)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OSError:
        folder = self._target.parent
        todo = "Give another path."
        if isinstance(error, FileNotFoundError) and not folder.is_dir():
            todo = f"Make the folder {str(folder)!r} first."
        elif isinstance(error, PermissionError):
            todo = "Give a path that may be written to."
        why = (error.strerror or str(error)).lower()
        return type(error)(f"{self.owner} cannot write {str(self.path)!r}: {why}. {todo}")


class RowLog:
    """The half of a callback that hands every finished row of the history to its file, once.

    The other half is ``write_rows(run, rows)``, which knows the format. Rows are handed over when
    the event that finished them is over, so that every listener has added what it wants to.

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

    def begin_fit(self, run: "Run") -> None:
        """Open the file."""
        self._handed = 0
        self.file.open()

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
        if rows:
            self._handed += len(rows)
            self.write_rows(run, rows)

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Write rows that are finished; at least one.

        Raises:
            NotImplementedError: the other half is missing.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no write_rows, so its file would stay empty. "
            "Define write_rows(run, rows)."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.file.path)!r})"

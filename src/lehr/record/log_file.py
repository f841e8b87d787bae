"""A file that grows by whole lines and is never overwritten unasked."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from lehr.base.files import replace_file, resolved, sync_folder
from lehr.base.paths import path_of
from lehr.base.reading import read_plain


class LogFile:
    """Lines on disk: what was written is there, whatever becomes of the process.

    Args:
        path: of the file; its folder must exist.
        append: whether an existing file is gone on with.
        owner: the name of the callback that writes, for messages.

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
        self.path, self.append, self.owner = path_of(path), append, owner
        self._open = self._own = self._unsynced = self._unnamed = self._torn = False
        self._mark = {"size": 0, "crc": 0}

    def open(self, *, resuming: bool = False) -> None:
        """Check that lines can be written, and that no lines of another run would be lost.

        Opened again by the same object, the file is gone on with.

        Args:
            resuming: the file is looked at whosever it is; a state will tell whether it is one's
                own.

        Raises:
            FileExistsError: there is something in the file, and ``append`` is false.
            ValueError: it is no plain file, but a named pipe, say, or a device.
            OSError: it cannot be written to.
        """
        self._target = self.path
        try:
            self._target = resolved(self.path)  # also if the working folder changes during the fit
            content = b"" if self._target.is_dir() else self.read_bytes()
            with self._target.open("ab"):  # for the error, if it cannot be written to
                pass
        except OSError as error:
            raise self._failure(error) from error
        if content and not (self.append or self._own or resuming):
            raise FileExistsError(
                f"{self.owner} does not overwrite {str(self.path)!r}. Give another path, delete "
                "the file, or go on with it: append=True."
            )
        self._open, self._own = True, self._own or not resuming
        self._mark = {"size": len(content), "crc": crc32(content)}

    @property
    def is_open(self) -> bool:
        """Whether this object has opened it."""
        return self._open

    def claim(self) -> None:
        """Know that what is in the file is one's own."""
        self._own = True

    def read_bytes(self) -> bytes:
        """Everything in the file; nothing, if it is gone."""
        return read_plain(self._target) if self._target.exists() else b""

    def read(self) -> str:
        """Everything in the file.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        return self.read_bytes().decode("utf-8")

    def write(self, text: str) -> None:
        """Add whole lines, all or none; a last line that was left unfinished is ended first.

        Raises:
            OSError: the file cannot be written to any more.
        """
        try:
            self._trim()
            with self._target.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    text = text if file.read() == b"\n" else f"\n{text}"
                data = text.encode("utf-8")
                file.write(data)
        except OSError as error:
            self._torn = True
            with suppress(OSError):
                self._trim()
            raise self._failure(error) from error
        size, crc = self._mark["size"] + len(data), crc32(data, self._mark["crc"])
        self._mark, self._unsynced = {"size": size, "crc": crc}, True

    def _trim(self) -> None:
        """Let go of what the disk took of lines that it had no room for."""
        if self._torn and self._target.exists():
            if self._target.stat().st_size > self._mark["size"]:
                os.truncate(self._target, self._mark["size"])
            self._torn = False

    def replace(self, text: str) -> None:
        """Put ``text`` in the place of everything: at every moment the old or the new is there.

        Raises:
            OSError: the file cannot be written to any more; the old one is there.
        """
        data, in_place = text.encode("utf-8"), False
        try:
            replace_file(self._target, data)
        except OSError as error:
            with suppress(OSError):
                in_place = self.read_bytes() == data
            if not in_place:
                raise self._failure(error) from error
        self._mark, self._torn = {"size": len(data), "crc": crc32(data)}, False
        self._unsynced = self._unnamed = in_place  # its name may not have reached the disk

    def mark(self) -> dict[str, int]:
        """What has been written so far, for `cut`."""
        return dict(self._mark)

    def sync(self) -> None:
        """See that what has been written so far has reached the disk.

        Raises:
            OSError: the disk does not take it.
        """
        if self._unsynced and self._target.exists():
            try:
                with self._target.open("r+b") as file:
                    os.fsync(file.fileno())
                if self._unnamed:
                    sync_folder(self._target.parent)
            except OSError as error:
                raise self._failure(error) from error
        self._unsynced = self._unnamed = False

    def cut(self, mark: Mapping[str, int]) -> None:
        """Let go of what was written after `mark` was called, be it by another process.

        Where nothing was written since, or this object has not opened the file, it is left alone.

        Raises:
            ValueError: the file does not begin with what had been written then.
            OSError: it cannot be written to any more.
        """
        if self._open and mark != self._mark:
            content = self.read_bytes()
            self.require(
                len(content) >= mark["size"], f"it has {len(content)} of {mark['size']} bytes"
            )
            kept = content[: mark["size"]]
            self.require(crc32(kept) == mark["crc"], "it holds something else")
            try:
                os.truncate(self._target, mark["size"])
            except OSError as error:
                raise self._failure(error) from error
            self._unsynced, self._torn = True, False
        self._mark = dict(mark)

    def require(self, holds: bool, what: str) -> None:
        """Refuse to go on in the file from a state, unless what is seen of it ``holds``.

        Raises:
            ValueError: it does not; ``what`` says what is the matter.
        """
        if not holds:
            raise ValueError(
                f"{self.owner} cannot go on where the state says in {str(self.path)!r}: {what}. "
                "Put the file back that the run had written, or go on from the beginning."
            )

    def _failure(self, error: OSError) -> OSError:
        folder = self._target.parent
        todo = "Give another path."
        if isinstance(error, FileNotFoundError) and not folder.is_dir():
            todo = f"Make the folder {str(folder)!r} first."
        elif isinstance(error, PermissionError):
            todo = "Give a path that may be written to."
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            todo = "Make room on the disk."
        why = (error.strerror or str(error)).lower()
        return type(error)(f"{self.owner} cannot write {str(self.path)!r}: {why}. {todo}")

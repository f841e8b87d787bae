"""Open files that no interrupt leaves open behind it.

A descriptor is only a number: if a Ctrl-C comes before it is noted down, nobody closes it.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.signals import patient


def open_file(path: Path, flags: int) -> FileIO:
    """An open file, which is closed at the latest when nobody has it any more.

    Args:
        path: of a file; one that is made has the permissions 0o666, less the umask.
        flags: as those of ``os.open``.

    Raises:
        OSError: it cannot be opened, or is a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a").write_bytes(b"one")
        ...     with open_file(Path(folder, "a"), os.O_RDONLY) as file:
        ...         file.read()
        b'one'
    """
    # Both calls are made by ``map``, within one instruction: no interrupt comes in between.
    [file] = map(FileIO, map(os.open, [path], [flags], [0o666]))
    return file


@interrupts_wait_at_both_ends
@contextmanager
def opened(path: Path, flags: int) -> Generator[int]:
    """A scope in which a file or a folder is open for reading.

    Yields:
        The descriptor.

    Raises:
        OSError: it cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with opened(Path(folder), os.O_RDONLY) as descriptor:
        ...         type(descriptor)
        <class 'int'>
    """
    with patient():
        descriptor = os.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

"""Writing to disk so that it is there afterwards, whatever becomes of the process or the machine.

Every call to the operating system that changes something on disk is one of the functions here.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from lehr.base.descriptors import open_file, opened
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.signals import patient

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # some network file systems
_PART, _STALE = ".part", 300.0  # seconds
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write two bytes for each line feed


def write_files(folder: Path, contents: Mapping[str, Iterable[bytes | memoryview]]) -> None:
    """Make new files, each of several parts that are not joined in memory; all reach the disk.

    All are written before the first is waited for: so the disk has most of the others by then. The
    names reach the disk with `sync_folder`.

    Raises:
        OSError: there is one of such a name, or one cannot be written; the others may be there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_files(Path(folder), {"a": [b"one", b"two"], "b": []})
        ...     Path(folder, "a").read_bytes(), Path(folder, "b").read_bytes()
        (b'onetwo', b'')
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
    made: list[FileIO] = []
    try:
        for name, parts in contents.items():
            made.append(open_file(folder / name, flags))
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[os.write(made[-1].fileno(), view) :]
        for file in made:
            os.fsync(file.fileno())
    finally:
        for file in made:
            file.close()


def sync_folder(path: Path) -> None:
    """See that the names in a folder have reached the disk.

    Raises:
        OSError: the folder cannot be opened, or the disk does not take it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sync_folder(Path(folder))
    """
    if os.name == "nt":
        return  # Windows has no such call; its file systems journal names by themselves
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of a file: at every moment the old or the new one is there, whole.

    Raises:
        OSError: it cannot be written; the old file is untouched and nothing else is left. Or the
            disk does not take the name of the new one, which is there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a")
        ...     replace_file(path, b"one"); replace_file(path, b"two")
        ...     path.read_bytes()
        b'two'
    """
    replace_in_parts(path, [data])


def replace_in_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """What `replace_file` does, with data that comes in parts: one is held at a time.

    Raises:
        OSError: as `replace_file` does.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_in_parts(Path(folder, "a"), (part for part in (b"one", b"two")))
        ...     Path(folder, "a").read_bytes()
        b'onetwo'
    """
    with _begun(path) as part:
        write_files(part.parent, {part.name: parts})
        part.replace(path)
    sync_folder(path.parent)


@interrupts_wait_at_both_ends
@contextmanager
def _begun(path: Path) -> Generator[Path]:
    """A name beside ``path`` to write to first; what has it if the scope fails is deleted."""
    with patient():
        part = path.with_name(f".{path.name}.{os.urandom(8).hex()}{_PART}")  # it cannot be guessed
        try:
            yield part
        except BaseException as error:
            discard(part)
            if isinstance(error, OSError) and error.errno is not None:
                error.filename = str(path)  # the name that the caller knows
            raise


def save_file(path: Path, data: bytes) -> None:
    """Write to a path that the user named, whole: as `replace_file`, but where the path leads.

    A link is followed, and what is no file, such as ``/dev/stdout``, is written to as it is.

    Raises:
        FileNotFoundError: there is no folder to write it into.
        OSError: it cannot be written; an old file is untouched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     real, link = Path(folder, "real"), Path(folder, "link")
        ...     link.symlink_to(real)
        ...     save_file(link, b"one")
        ...     real.read_bytes(), link.is_symlink()
        (b'one', True)
    """
    save_in_parts(path, [data])


def save_in_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """What `save_file` does, with data that comes in parts: one is held at a time.

    Raises:
        OSError: as `save_file` does.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_in_parts(Path(folder, "a"), [b"one", b"two"])
        ...     Path(folder, "a").read_bytes()
        b'onetwo'
    """
    target = resolved(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: there is no folder {path.parent}. Make it first."
        )
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            file.writelines(parts)
    else:
        replace_in_parts(target, parts)


def resolved(path: Path) -> Path:
    """Where a path leads, links followed.

    Raises:
        OSError: its links lead in a circle.

    Example:
        >>> resolved(Path("a")) == Path.cwd() / "a"
        True
    """
    try:
        return path.resolve()
    except RuntimeError:  # so says Python 3.11 and 3.12
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def sweep(folder: Path) -> None:
    """Delete what `replace_file` had begun in processes that were killed, once it is old enough.

    What has not changed for five minutes is no longer being written. Nothing is followed, and what
    cannot be deleted stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     part = Path(folder, ".a.0123456789abcdef.part")
        ...     _ = part.write_bytes(b"")
        ...     os.utime(part, (0, 0))
        ...     sweep(Path(folder))
        ...     part.exists()
        False
    """
    for part in folder.glob(f".*{_PART}"):
        with suppress(OSError):
            status = part.lstat()
            ours = re.fullmatch(r"\..+\.[0-9a-f]{16}\.part", part.name)
            if ours and stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _STALE:
                part.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing; each new name reaches the disk.

    A folder that is there is left as it is.

    Raises:
        OSError: it cannot be made, or there is a file of that name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_folder(Path(folder, "a", "b"))
        ...     Path(folder, "a", "b").is_dir()
        True
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        new_folder(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    sync_folder(path.parent)


def new_folder(path: Path) -> None:
    """Make a folder that is not there yet; its name reaches the disk with `sync_folder`.

    Raises:
        OSError: there is something of that name, or it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     new_folder(Path(folder, "a"))
        ...     Path(folder, "a").is_dir()
        True
    """
    path.mkdir()


def rename(old: Path, new: Path) -> None:
    """Give a file or folder another name; the name reaches the disk with `sync_folder`.

    Raises:
        OSError: it cannot be renamed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a").write_bytes(b"one")
        ...     rename(Path(folder, "a"), Path(folder, "b"))
        ...     Path(folder, "b").read_bytes()
        b'one'
    """
    old.rename(new)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; a link is deleted, not followed.

    Raises:
        OSError: something of it cannot be deleted; the rest may be gone.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_folder(Path(folder, "a", "b"))
        ...     remove(Path(folder, "a"))
        ...     Path(folder, "a").exists()
        False
    """
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return
    for inner in path.iterdir():
        remove(inner)
    path.rmdir()


def discard(path: Path) -> None:
    """Delete a file, if it is there; a link is deleted, not followed.

    Raises:
        OSError: it cannot be deleted, or is a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     discard(Path(folder, "a"))
    """
    path.unlink(missing_ok=True)


def lock_file(path: Path, *, wait: bool = False) -> FileIO:
    """Open a file, made if need be, and keep all others from doing so until it is closed.

    On a system without such locks, nothing is kept away. The lock belongs to the open file: a
    process forked from this one holds it too, until it closes its own.

    Args:
        path: of the file.
        wait: until nobody else has it open in this way.

    Returns:
        The open file.

    Raises:
        BlockingIOError: it is open elsewhere, and nobody is to wait.
        OSError: it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with lock_file(Path(folder, "a")):
        ...         try:
        ...             lock_file(Path(folder, "a"))
        ...         except BlockingIOError:
        ...             print("taken")
        taken
    """
    file = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            file.close()
            raise
    return file

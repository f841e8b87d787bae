"""Are these the data that a run began with?"""

import zlib
from pathlib import Path

from lehr.base.paths import path_of
from lehr.base.reading import open_plain
from lehr.data.images.folder import EXTENSIONS
from lehr.data.published.catalog import SOURCES

_BLOCK = 1 << 20


def data_sum(source: str) -> str | None:
    """A checksum that changes when the data at a path do; None for a published set.

    Of a file, it is that of its content; of a folder, that of the names and sizes of the images in
    it, since to read them all might take as long as an epoch.

    Args:
        source: what `lehr.data.open_data` opens.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a named pipe, a device or the like.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.csv")
        ...     _ = path.write_text("x,y\\n1,2\\n")
        ...     data_sum(str(path))
        '0072df23'
        >>> data_sum("digits") is None
        True
    """
    if source in SOURCES:
        return None
    path = path_of(source)
    return f"{_of_folder(path) if path.is_dir() else _of_file(path):08x}"


def _of_file(path: Path) -> int:
    value = 0
    with open_plain(path) as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _of_folder(path: Path) -> int:
    inside = (file.relative_to(path) for file in path.rglob("*"))
    images = sorted(
        below.as_posix()
        for below in inside
        if below.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in below.parts)
    )
    lines = [f"{below} {(path / below).stat().st_size}\n" for below in images]
    return zlib.crc32("".join(lines).encode("utf-8", "surrogateescape"))

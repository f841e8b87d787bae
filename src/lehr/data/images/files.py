"""Files in a folder or in a zip, read one by one; each process reads for itself."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lehr.base.paths import path_of
from lehr.data.images.decode import LARGEST_FILE, BrokenImage, read_image


class FolderFiles:
    """Some files below a folder.

    Args:
        root: the folder.
        names: of the files, below it, with ``/`` between the parts.

    Example:
        >>> FolderFiles("photos", ["cat/1.jpg", "dog/1.jpg"]).name(1).replace(os.sep, "/")
        'photos/dog/1.jpg'
    """

    def __init__(self, root: str | Path, names: Sequence[str]) -> None:
        self.root, self.names = path_of(root), tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, i: int) -> str:
        """What messages call file ``i``."""
        return str(self.root / self.names[i])

    def read(self, i: int) -> bytes:
        """The content of file ``i``.

        Raises:
            BrokenImage: it is no plain file, or enormous.
            OSError: it cannot be read.
        """
        return read_image(self.root / self.names[i])

    def take(self, indices: Tensor) -> "FolderFiles":
        """The files at these indices."""
        return FolderFiles(self.root, [self.names[i] for i in cast("list[int]", indices.tolist())])


class ZipFiles:
    """Some files in a zip, unpacked in memory: their names never touch the file system.

    Every process opens the zip for itself, so that a worker, forked or spawned, never shares a
    place in the file with another. What is pickled is the path and the names.

    Args:
        path: the zip.
        names: of the files in it.

    Example:
        >>> ZipFiles("photos.zip", ["cat/1.jpg", "dog/1.jpg"]).name(0)
        'photos.zip: cat/1.jpg'
    """

    def __init__(self, path: str | Path, names: Sequence[str]) -> None:
        self.path, self.names = path_of(path), tuple(names)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def name(self, i: int) -> str:
        """What messages call file ``i``."""
        return f"{self.path}: {self.names[i]}"

    def read(self, i: int) -> bytes:
        """The content of file ``i``.

        Raises:
            BrokenImage: it is damaged, encrypted, packed in an unknown way, or enormous.
            OSError: the zip cannot be read.
        """
        archive = self._archive()
        member = archive.getinfo(self.names[i])
        if member.file_size > LARGEST_FILE:
            raise BrokenImage(
                f"{self.name(i)} would unpack to {member.file_size:,} bytes, more than the "
                f"{LARGEST_FILE:,} that an image may have",
                "Remove it from the zip.",
            )
        try:
            return archive.read(member)
        except MemoryError:
            raise
        except Exception as error:  # encrypted, packed in an unknown way, damaged in a dozen ways
            raise BrokenImage(
                f"{self.name(i)} cannot be unpacked: {error}", "Pack the zip again."
            ) from error

    def take(self, indices: Tensor) -> "ZipFiles":
        """The files at these indices; the zip stays open for both."""
        taken = ZipFiles(self.path, [self.names[i] for i in cast("list[int]", indices.tolist())])
        taken._opened = self._opened
        return taken

    def _archive(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), zipfile.ZipFile(self.path)
        return self._opened[1]


ImageFiles = FolderFiles | ZipFiles
"""Where undecoded images are."""

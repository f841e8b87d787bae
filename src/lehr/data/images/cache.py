"""Decoded images, kept on disk from one training to the next.

The pixels of all images are in one file, in the order of their names: a file of NumPy's, so that
other programs can open it, with a few lines of JSON behind the pixels. They say from which files
the pixels were made, and by which decoder; if anything of that is another now, or a byte of the
pixels is, the file is made anew. It is written under another name first: who reads finds the old
file or the new one, whole. One process at a time makes it; others that need it wait. Nothing in it
is executed.
"""

import hashlib
import io
import os
import platform
import re
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lehr.base.files import discard, lock_file, make_folder, replace_in_parts, sweep
from lehr.base.mapped import MappedRows
from lehr.base.reading import open_plain
from lehr.base.stored import Form, Index
from lehr.base.strict_json import dump, parse
from lehr.base.user_cache import user_cache
from lehr.data.images.decode import DECODING, BrokenImage
from lehr.data.images.decode_all import Decoded, decoded_parts
from lehr.data.images.files import FolderFiles, ImageFiles
from lehr.data.images.preparation import ImagePreparation

FORMAT = 1
"""Of the file; another one is made anew."""

_BLOCK = 1 << 24  # bytes that have a checksum together
_NOTES = 1 << 27  # bytes that the notes may have
_TRIES = 10  # to open a file that others are replacing


class CachedPixels:
    """Some of the images in a cache: a batch is copied from the mapped file.

    Args:
        rows: of all images in the file.
        places: int64 ``(n,)``, which of them these are.
        files: where they came from.
    """

    def __init__(self, rows: MappedRows, places: Tensor, files: ImageFiles) -> None:
        self.rows, self.places, self.files = rows, places, files

    def __len__(self) -> int:
        return len(self.places)

    def gather(self, indices: Tensor) -> Tensor:
        """Those at ``indices``: uint8 ``(batch, channels, height, width)``."""
        return self.rows.gather(self.places.index_select(0, indices))

    def name(self, i: int) -> str:
        """What messages call image ``i``."""
        return self.files.name(i)


class _Kept(NamedTuple):
    """What is in a file: all images, and what is wrong with those that have no pixels."""

    rows: MappedRows
    faults: dict[int, BrokenImage]


class _Notes(Form):
    """What is said behind the pixels."""

    of: str
    key: str
    sums: list[Index]
    faults: list[tuple[Index, str, str]]


class _Replaced(Exception):  # noqa: N818
    """Another process put a new file in the place of one that was being opened."""


class _Failure(Exception):  # noqa: N818
    """Something went wrong while images were decoded, and not while they were written."""


def cached(
    parts: Sequence[ImageFiles],
    preparation: ImagePreparation,
    folder: Path | None,
    *,
    of: str = "",
    skip_broken: bool = False,
    num_workers: int = 0,
) -> list[tuple[Decoded, CachedPixels]] | None:
    """The pixels of some files from a cache on disk, which is made if there is none.

    Args:
        parts: the files, below one root; each lot by itself.
        preparation: decides mode and size; nothing is scaled.
        folder: of the cache; None for ``images/`` in `lehr.base.user_cache.user_cache`.
        of: says which of the files below the root are there; others have another cache.
        skip_broken: leave out what cannot be decoded; else it is an error.
        num_workers: processes that decode; 0 for this one.

    Returns:
        For each lot which files are whole and what is wrong with the others, as from `decode_all`,
        and the pixels of the whole ones; None, with a warning, if the cache cannot be written.

    Raises:
        BrokenImage: a file cannot be decoded, or with ``skip_broken`` none can.
        OSError: a file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "a.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 255]))
        ...     form = ImagePreparation(("a",), "L", (1, 2))
        ...     [(_, pixels)] = cached([FolderFiles(root, ["a.pgm"])], form, Path(root, "cache"))
        ...     pixels.gather(torch.tensor([0]))
        tensor([[[[  0, 255]]]], dtype=torch.uint8)
    """
    names = sorted({name for files in parts for name in files.names})
    files = _named(parts[0], names)
    folder = user_cache("images") if folder is None else folder
    path = folder / _file_name(files, preparation, of)
    key = _key(files, preparation)
    kept = _open(path, key, len(names), preparation)
    if kept is None:
        kept = _made(path, key, files, preparation, skip_broken, num_workers)
    if isinstance(kept, str):
        warnings.warn(
            f"decoded images cannot be kept in {folder}: {kept}. It goes on without a cache. Make "
            "room, or name another folder in cache= or in the environment variable LEHR_CACHE.",
            stacklevel=4,  # whoever called `image_folder`
        )
        return None
    place = {name: i for i, name in enumerate(names)}
    return [_part(kept, [place[name] for name in lot.names], lot, skip_broken) for lot in parts]


def _made(
    path: Path,
    key: str,
    files: ImageFiles,
    form: ImagePreparation,
    skip_broken: bool,
    num_workers: int,
) -> _Kept | str:
    """What is in the file, which one process at a time makes; if that cannot be done, why."""
    n, lock = len(files), path.with_name(f".{path.name}.lock")
    with _locked(lock):
        try:
            kept = _open(path, key, n, form)  # another one may have made it meanwhile
            if kept is None:
                content = _content(files, form, key, skip_broken, num_workers)
                if why := _write(path, content, _size(n, form)):
                    return why
                kept = _open(path, key, n, form, check=False)
            return kept or "what was written is gone"
        finally:
            with suppress(OSError):
                discard(lock)


def _locked(lock: Path) -> AbstractContextManager[Any]:
    """A scope in which other processes wait for this one, if files can be made there at all."""
    try:
        make_folder(lock.parent)
        return lock_file(lock, wait=True)
    except OSError:
        return nullcontext()


def _write(path: Path, content: Generator[bytes | memoryview], size: int) -> str | None:
    """Make the file; if that cannot be done, why."""
    failure = None
    with closing(content):
        try:
            make_folder(path.parent)
            sweep(path.parent)
            if shutil.disk_usage(path.parent).free < size:
                return f"they take {size:,} bytes, and there is no room for them"
            replace_in_parts(path, content)
        except _Failure as error:
            failure = error.__cause__
        except OSError as error:
            return error.strerror or str(error)
    if failure is not None:
        raise failure
    return None


def _part(
    kept: _Kept, places: list[int], files: ImageFiles, skip_broken: bool
) -> tuple[Decoded, CachedPixels]:
    faults = [kept.faults[place] for place in places if place in kept.faults]
    if faults and not skip_broken:
        raise faults[0]
    whole = torch.tensor(
        [i for i, place in enumerate(places) if place not in kept.faults], dtype=torch.int64
    )
    if faults and not len(whole):
        fault = f"none of {len(places)} images can be decoded. The first: {faults[0].fault}"
        raise BrokenImage(fault, faults[0].todo)
    pixels = CachedPixels(kept.rows, torch.tensor(places)[whole], files.take(whole))
    return Decoded(torch.empty(0, dtype=torch.uint8), whole, faults), pixels


# -- what the pixels depend on


def _named(files: ImageFiles, names: Sequence[str]) -> ImageFiles:
    """Files with these names, at the place of others."""
    if isinstance(files, FolderFiles):
        return FolderFiles(files.root, names)
    return type(files)(files.path, names)


def _place(files: ImageFiles) -> Path:
    return (files.root if isinstance(files, FolderFiles) else files.path).resolve()


def _file_name(files: ImageFiles, form: ImagePreparation, of: str) -> str:
    """One for each place and form: new content replaces the old, so that the disk does not fill."""
    place = _place(files)
    text = "\0".join([str(place), form.mode, str(form.size), form.resize, of])
    word = re.sub(r"[^A-Za-z0-9_-]", "_", place.stem)[:40]
    return f"{word}-{_digest(text)[:16]}.npy"


def _key(files: ImageFiles, form: ImagePreparation) -> str:
    """A checksum of everything that the pixels depend on."""
    from PIL import Image, ImageFile, __version__, features

    codecs = [f"{codec} {features.version(codec)}" for codec in ("jpg", "zlib", "webp", "libtiff")]
    decoder = [f"{FORMAT} {DECODING}", f"Pillow {__version__}", *codecs, platform.machine()]
    decoder.append(f"turbo {features.version('libjpeg_turbo')}")
    limits = f"{Image.MAX_IMAGE_PIXELS} {ImageFile.LOAD_TRUNCATED_IMAGES}"
    lines = [*decoder, limits, form.mode, str(form.size), form.resize, *_states(files)]
    return _digest("\n".join(lines))


def _states(files: ImageFiles) -> Generator[str]:
    """A line for each file, which is another when the file is."""
    if isinstance(files, FolderFiles):
        for name in files.names:
            state = (files.root / name).stat()
            changed = state.st_mtime_ns, state.st_ctime_ns  # the first may be set, as a copy does
            yield f"{name}\0{state.st_size} {changed}"
        return
    state = files.path.stat()
    yield f"{state.st_size} {state.st_mtime_ns}"
    with zipfile.ZipFile(files.path) as archive:
        for name in files.names:
            member = archive.getinfo(name)
            yield f"{name}\0{member.file_size} {member.CRC}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# -- the file


def _head(n: int, form: ImagePreparation) -> bytes:
    """What NumPy wants before so many pixels."""
    from numpy.lib import format as npy

    head = io.BytesIO()
    shape = (n, form.channels, *form.size)
    npy.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return head.getvalue()


def _size(n: int, form: ImagePreparation) -> int:
    return n * form.channels * form.size[0] * form.size[1]


def _content(
    files: ImageFiles, form: ImagePreparation, key: str, skip_broken: bool, num_workers: int
) -> Generator[bytes | memoryview]:
    """The parts of the file, which are decoded as they are written."""
    yield _head(len(files), form)
    sums: list[int] = []
    faults: list[tuple[Index, str, str]] = []
    open_sum = _Sums()
    for first, part in _decoded(files, form, num_workers):
        n = len(part.whole) + len(part.faults)
        block = torch.zeros(n, form.channels, *form.size, dtype=torch.uint8)
        block[part.whole - first] = part.pixels
        if part.faults:
            if not skip_broken:
                raise _Failure from part.faults[0]
            whole = set(cast("list[int]", part.whole.tolist()))
            broken = sorted(set(range(first, first + n)) - whole)
            pairs = zip(broken, part.faults, strict=True)
            faults += [(i, _text(fault.fault), _text(fault.todo)) for i, fault in pairs]
        content: Any = block.view(-1).numpy()
        view = memoryview(content)
        sums += open_sum.add(view)
        yield view
    notes = _Notes(_text(str(_place(files))), key, [*sums, *open_sum.rest()], faults)
    text = dump(notes.to_dict())
    yield b"\n%08x\n" % zlib.crc32(text) + text


def _text(text: str) -> str:
    """A text that UTF-8 can say, though a file may have another name."""
    return text.encode("utf-8", "replace").decode()


def _decoded(
    files: ImageFiles, form: ImagePreparation, num_workers: int
) -> Generator[tuple[int, Decoded]]:
    """What came of each lot of files, with the number of its first one."""
    first = 0
    try:
        for part in decoded_parts(files, form, num_workers=num_workers):
            yield first, part
            first += len(part.whole) + len(part.faults)
    except Exception as error:
        raise _Failure from error


class _Sums:
    """The checksum of each block of bytes that come in parts of any size."""

    def __init__(self) -> None:
        self.sum, self.size = 0, 0

    def add(self, part: memoryview) -> list[int]:
        """The checksums of the blocks that are full now."""
        full: list[int] = []
        while part:
            now, part = part[: _BLOCK - self.size], part[_BLOCK - self.size :]
            self.sum, self.size = zlib.crc32(now, self.sum), self.size + len(now)
            if self.size == _BLOCK:
                full += self.rest()
        return full

    def rest(self) -> list[int]:
        """The checksum of the block that is not full, if there is one."""
        sums = [self.sum] if self.size else []
        self.sum, self.size = 0, 0
        return sums


def _open(
    path: Path, key: str, n: int, form: ImagePreparation, *, check: bool = True
) -> _Kept | None:
    """What is in a file; None if it is not what it should be, whatever the reason.

    If another process replaces it meanwhile, the new one is opened.
    """
    for _ in range(_TRIES):
        try:
            return _opened(path, key, n, form, check=check)
        except _Replaced:
            check = True
        except (OSError, ValueError):
            break
    return None


def _opened(path: Path, key: str, n: int, form: ImagePreparation, *, check: bool) -> _Kept | None:
    import numpy as np

    head, size = _head(n, form), _size(n, form)
    with open_plain(path) as file:
        if file.read(len(head)) != head:
            return None
        file.seek(len(head) + size)
        notes = _notes(file.read(_NOTES))
        file.seek(len(head))
        if notes.key != key or (check and _sums_of(file, size) != notes.sums):
            return None
        shape = (n, form.channels, *form.size)
        rows = MappedRows(np.memmap(path, np.uint8, "r", len(head), shape))
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise _Replaced
        faults = {i: BrokenImage(fault, todo) for i, fault, todo in notes.faults}
        return _Kept(rows, faults)


def _notes(text: bytes) -> _Notes:
    """What is said behind the pixels.

    Raises:
        ValueError: it is not whole.
    """
    if text[:10] != b"\n%08x\n" % zlib.crc32(text[10:]):
        raise ValueError("the checksum is another")
    return _Notes.read(parse(text[10:]), "a cache of images")


def _sums_of(file: Any, size: int) -> list[int]:
    sums: list[int] = []
    while size and (block := file.read(min(_BLOCK, size))):
        sums.append(zlib.crc32(block))
        size -= len(block)
    return sums if not size else []

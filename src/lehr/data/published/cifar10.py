"""CIFAR-10: 60,000 small colour photographs of ten kinds of things."""

import gzip
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lehr.base.reading import open_plain
from lehr.data.bunch import DataBunch
from lehr.data.images.decode_all import decode_all
from lehr.data.images.folder import FoundImages
from lehr.data.images.preparation import ImagePreparation
from lehr.data.published.options import PublishedOptions, takes
from lehr.data.published.published import Published
from lehr.data.split import check_split
from lehr.errors import positive_int

ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10 = Published(
    "cifar10",
    "https://www.cs.toronto.edu/~kriz/",
    {ARCHIVE: "c32a1d4ab5d03f1284b67883e8d13530"},
    ("cifar10",),
)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
_LARGEST = 10_000 * _RECORD  # bytes of a part
_MEMBERS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


@dataclass(frozen=True, kw_only=True)
class Cifar10Options(PublishedOptions):
    """Options of `cifar10`.

    Args:
        root: the only folder to look in for ``cifar10/train.zip`` (and ``test.zip``), the folders
            ``cifar10/train/`` (and ``test/``), or the published
            ``cifar10/cifar-10-binary.tar.gz``; by default the one that the environment variable
            LEHR_DATA names, and if nothing is there, the last (170 MB) is downloaded once.
        valid_items: how many of the training images are for validation; a multiple of 10.
        num_workers: processes that decode, once, where the images are files.
    """

    valid_items: int = 5_000
    normalize: bool | Sequence[Any] = True
    num_workers: int = 0


@takes(Cifar10Options)
def cifar10(options: Cifar10Options) -> DataBunch:
    """CIFAR-10's training images: 45,000 to train on, 5,000 to validate on.

    Validation gets the last images of each class, equally many of every class.

    Returns:
        A DataBunch with ``c = 10``; ``xb`` is float32 ``(batch, 3, 32, 32)``, ``yb`` int64
        ``(batch,)``. The images are kept as bytes, in memory.

    Raises:
        FileNotFoundError: ``root`` does not have the files.
        OSError: they cannot be downloaded.
        ValueError: a file is damaged, or ``valid_items`` cannot be taken equally from each class.

    Example:
        >>> bunch = cifar10(augment="flip+shift")  # doctest: +SKIP
        >>> len(bunch.train_ds), len(bunch.valid_ds)  # doctest: +SKIP
        (45000, 5000)

    Reference:
        A. Krizhevsky, "Learning multiple layers of features from tiny images", University of
        Toronto, 2009.
    """
    split = options.split
    check_split(split, options.preparation, ("valid", "test", "all"))
    wanted = ("train",) if split == "valid" else ("train", "test")
    parts = read_cifar10(options.root, wanted, num_workers=options.num_workers)
    (pixels, labels), *test = parts
    train = valid = pixels, labels
    if split == "all":
        train = valid = torch.cat([pixels, test[0][0]]), torch.cat([labels, test[0][1]])
    elif test:
        valid = test[0]
    else:
        chosen, held = last_of_each(labels, options.valid_items)
        train, valid = (pixels[chosen], labels[chosen]), (pixels[held], labels[held])
    return options.bunch(train, valid, CLASSES)


def read_cifar10(
    root: str | Path | None = None, parts: Sequence[str] = ("train",), *, num_workers: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """Of each part, images, uint8 ``(n, 3, 32, 32)``, and labels, int64 ``(n,)``.

    All parts come from one source, for photographs packed anew are not the same bits.

    Args:
        root: see `cifar10`.
        parts: ``"train"``, ``"test"``, or both.
        num_workers: processes that decode images that are files.

    Raises:
        FileNotFoundError: ``root`` does not have the files.
        OSError: they cannot be downloaded.
        ValueError: a file is damaged or of other classes.
    """
    images = [CIFAR10.local(root, f"{part}.zip", part) for part in parts]
    present = [path for path in images if path is not None]
    if len(present) == len(parts):
        return [_read_images(path, num_workers) for path in present]
    archive = CIFAR10.local(root, ARCHIVE)
    if archive is None and root is not None:
        wanted = " with ".join(f"{part}.zip" for part in parts)
        raise CIFAR10.missing(root, wanted, "folders of that name", ARCHIVE)
    return _read_archive(archive or CIFAR10.download(ARCHIVE), parts)


def last_of_each(labels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The indices of all but the last ``n`` in equal shares from each class, and of those.

    Raises:
        TypeError: ``n`` is no int.
        ValueError: ``n`` cannot be divided, or leaves a class without training images.

    Example:
        >>> last_of_each(torch.tensor([0, 0, 1, 1, 0]), 2)
        (tensor([0, 1, 2]), tensor([3, 4]))
    """
    counts = labels.bincount()
    n, n_classes = positive_int("valid_items", n, example=5_000), len(counts)
    if n % n_classes or n // n_classes >= int(counts.min()):
        raise ValueError(
            f"valid_items must be a multiple of {n_classes}, and less than the "
            f"{int(counts.min()) * n_classes} that take a whole class; got {n}. "
            "Give e.g. valid_items=5_000."
        )
    share = n // n_classes
    held = torch.cat([(labels == c).nonzero()[-share:, 0] for c in range(n_classes)])
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[held] = True
    return (~mask).nonzero()[:, 0], mask.nonzero()[:, 0]


def _read_images(path: Path, num_workers: int) -> tuple[Tensor, Tensor]:
    part = FoundImages(path).part("train")
    if part.names != CLASSES:
        raise ValueError(
            f"{path} must have the classes {', '.join(CLASSES)}; got {', '.join(part.names)}. Is "
            "it another data set? lehr.data.image_folder reads any."
        )
    form = ImagePreparation(CLASSES, "RGB", (32, 32))
    return decode_all(part.files, form, num_workers=num_workers).pixels, part.labels


def _read_archive(path: Path, parts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
    wanted = [name for part in parts for name in _MEMBERS[part]]
    records: dict[str, Tensor] = {}
    try:
        with (
            open_plain(path) as file,
            _Unpacked(fileobj=file) as stream,
            tarfile.open(fileobj=stream, mode="r:") as archive,
        ):
            for member in archive:  # in their order; nothing is extracted to disk
                name = Path(member.name).name
                if name in wanted and (inner := archive.extractfile(member)):
                    records[name] = _records(inner.read(), f"{path}: {member.name}")
            while stream.read(1 << 20):  # the checksum of everything comes last
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} must be a whole tar.gz; reading it says: {error}. Fetch the file again."
        ) from error
    if missing := [name for name in wanted if name not in records]:
        raise ValueError(f"{path} lacks {', '.join(missing)}. Fetch the file again.")
    together = [torch.cat([records[name] for name in _MEMBERS[part]]) for part in parts]
    return [(rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long()) for rows in together]


class _Unpacked(gzip.GzipFile):
    """Gives no more at once than a part of the set has: a tar may ask for gigabytes of a header."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST:
            raise OSError(f"it holds something larger than the {_LARGEST:,} bytes of any part")
        return super().read(size)


def _records(content: bytes, name: str) -> Tensor:
    if not content or len(content) % _RECORD:
        raise ValueError(
            f"{name} must hold records of {_RECORD} bytes; got {len(content)} bytes. "
            "Fetch the file again."
        )
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, _RECORD)
    if int(rows[:, 0].max()) >= len(CLASSES):
        raise ValueError(
            f"{name} must hold labels from 0 to 9; got {int(rows[:, 0].max())}. "
            "Fetch the file again."
        )
    return rows

"""Finds the images in a folder, or in a zip of one: a folder for each class."""

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from lehr.base.paths import path_of
from lehr.data.images.files import FolderFiles, ImageFiles, ZipFiles

EXTENSIONS = frozenset(
    [".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
)
"""How the names of images end, in small or capital letters."""

LAYOUT = "Expected is a folder for each class: cat/1.jpg, dog/1.jpg, also inside train/ and valid/"

_SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid"}
_SPLITS["test"] = "test"

Parts = tuple[str, ...]
"""A path below the root, cut at each slash."""


@dataclass(frozen=True)
class Part:
    """Some images with the name of the class of each."""

    files: ImageFiles
    names: tuple[str, ...]
    """Of the classes, sorted."""
    labels: Tensor
    """int64 ``(n,)``, places in ``names``."""

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Tensor) -> "Part":
        """The images at these indices."""
        return Part(self.files.take(indices), self.names, self.labels[indices])


class FoundImages:
    """The images below a path, by split and class; nothing is decoded.

    Args:
        path: a folder, or a zip of one.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: it is neither a folder nor a zip, or has no images in folders of classes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("photos/cat/2.jpg", "photos/cat/1.JPG", "photos/dog/1.png"):
        ...         file = Path(root, name)
        ...         file.parent.mkdir(parents=True, exist_ok=True)
        ...         file.touch()
        ...     part = FoundImages(root).part("train")
        >>> part.names, part.labels, [Path(name).name for name in part.files.names]
        (('cat', 'dog'), tensor([0, 0, 1]), ['1.JPG', '2.jpg', '1.png'])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path_of(path)
        self._zipped = self.path.is_file()
        names = _in_zip(self.path) if self._zipped else _in_folder(self.path)
        members = dict(names)
        images = {parts: name for parts, name in members.items() if _is_image(parts)}
        if not images:
            packed = sorted(name for name in members.values() if name.lower().endswith(".zip"))
            hint = f" Is it {packed[0]}, inside, that you mean?" if packed else ""
            raise ValueError(
                f"{self.path} has no images: no file in it ends with one of "
                f"{', '.join(sorted(EXTENSIONS))}. {LAYOUT}.{hint}"
            )
        tree, self._inside = _lone_folders(images)
        self._splits = _splits(tree, self.path)

    @property
    def splits(self) -> tuple[str, ...]:
        """Which of train, valid and test there are."""
        return tuple(name for name in ("train", "valid", "test") if name in self._splits)

    def part(self, *splits: str) -> Part:
        """The images of these splits together, sorted by class and then by path.

        Raises:
            ValueError: there is only one class, an image lies in none, or splits differ in classes.
        """
        classes = [self._classes(split) for split in splits]
        for split, names in zip(splits[1:], classes[1:], strict=True):
            same_classes(splits[0], classes[0], split, names)
        return self._part(classes[0], splits, by_split=False)

    def whole(self) -> Part:
        """Every image, sorted by split (train, valid, test), then by class and then by path.

        A lone class will do, and splits may differ in classes: a model that knows them all can be
        evaluated on them.

        Raises:
            ValueError: an image lies in no folder of a class.
        """
        classes = [self._classes(split, lone=True) for split in self.splits]
        return self._part(sorted(set[str]().union(*classes)), self.splits, by_split=True)

    def _part(self, names: Sequence[str], splits: Sequence[str], *, by_split: bool) -> Part:
        label = {name: i for i, name in enumerate(names)}
        rows = sorted(
            (position if by_split else 0, label[parts[0]], position, parts, name)
            for position, split in enumerate(splits)
            for parts, name in self._splits[split].items()
        )
        members = [name for *_, name in rows]
        files = ZipFiles(self.path, members) if self._zipped else FolderFiles(self.path, members)
        return Part(files, tuple(names), torch.tensor([row[1] for row in rows]))

    def _classes(self, split: str, *, lone: bool = False) -> list[str]:
        images = self._splits[split]
        where = f"{split}/ in {self.path}" if len(self._splits) > 1 else str(self.path)
        where += f" (in {self._inside})" if self._inside else ""
        if loose := [parts[0] for parts in images if len(parts) == 1]:
            raise ValueError(
                f"{where} has {len(loose)} images that lie in no folder of a class, such as "
                f"{sorted(loose)[0]}. {LAYOUT}. Move them."
            )
        classes = sorted({parts[0] for parts in images})
        if len(classes) == 1 and not lone:
            raise ValueError(
                f"{where} has only one class: {len(images)} images in {classes[0]}/. {LAYOUT}."
            )
        return classes


def same_classes(name: str, classes: Iterable[str], other: str, others: Iterable[str]) -> None:
    """Refuse two splits whose classes are not the same.

    Raises:
        ValueError: one has a class that the other has not.
    """
    for a, have, b, lack in ((name, classes, other, others), (other, others, name, classes)):
        if missing := sorted(set(have) - set(lack)):
            raise ValueError(
                f"{a}/ and {b}/ must have the same classes; {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} only in {a}/. Is a folder misspelt or "
                "empty?"
            )


def _in_folder(path: Path) -> Iterator[tuple[Parts, str]]:
    if not path.exists():
        raise FileNotFoundError(
            f"path must be a folder or a zip of images; {path} does not exist. Check the spelling."
        )
    seen: set[str] = set()
    for folder, below, files in os.walk(path, followlinks=True):
        below[:] = [name for name in below if not _hidden(name)]
        real = os.path.realpath(folder)
        if real in seen:  # links that go round in circles
            below.clear()
            continue
        seen.add(real)
        parts = Path(folder).relative_to(path).parts
        yield from (((*parts, name), "/".join((*parts, name))) for name in files)


def _in_zip(path: Path) -> Iterator[tuple[Parts, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"path must be a folder or a zip of images; {path} is a file, but no whole zip "
            f"({error}). Give the folder that holds the classes, or pack it again."
        ) from error
    for name in names:
        yield PurePosixPath(name.replace("\\", "/")).parts, name


def zipped_images(path: Path) -> ZipFiles:
    """All images in a zip, in the order of their names, whatever folders they are in.

    Raises:
        ValueError: it is no whole zip, or holds no image.
        FileNotFoundError: there is no such file.
    """
    names = sorted(name for parts, name in _in_zip(path) if _is_image(parts))
    if not names:
        raise ValueError(f"{path} holds no images ({', '.join(sorted(EXTENSIONS))}). Give another.")
    return ZipFiles(path, names)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(parts: Parts) -> bool:
    ending = PurePosixPath(parts[-1]).suffix.lower() if parts else ""
    return ending in EXTENSIONS and not any(map(_hidden, parts))


def _lone_folders(images: Mapping[Parts, str]) -> tuple[dict[Parts, str], str]:
    """The paths below the folders that hold nothing but one folder of folders, and those."""
    tree, inside = dict(images), ""
    while len({parts[0] for parts in tree}) == 1 and all(len(parts) > 2 for parts in tree):
        inside += f"{next(iter(tree))[0]}/"
        tree = {parts[1:]: name for parts, name in tree.items()}
    return tree, inside


def _splits(tree: dict[Parts, str], path: Path) -> dict[str, dict[Parts, str]]:
    tops = sorted({parts[0] for parts in tree})
    known = [top for top in tops if top.lower() in _SPLITS]
    if not any(_SPLITS[top.lower()] == "train" for top in known) or len(known) < 2:
        if known and len(known) == len(tops) > 1:
            raise ValueError(
                f"{path} has {' and '.join(f'{top}/' for top in known)}, but no train/. {LAYOUT}."
            )
        return {"train": tree}
    others = [top for top in tops if top not in known]
    twice = len({_SPLITS[top.lower()] for top in known}) < len(known)
    if others or twice:
        fault = f"and also {', '.join(others)}" if others else "of which two mean the same"
        raise ValueError(
            f"{path} has {', '.join(f'{top}/' for top in known)}, {fault}. "
            "Keep train/, valid/ and test/ beside each other, and move the rest away."
        )
    return {
        _SPLITS[top.lower()]: {parts[1:]: name for parts, name in tree.items() if parts[0] == top}
        for top in known
    }

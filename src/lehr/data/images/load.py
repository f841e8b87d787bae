"""A folder of images, or a zip of one, ready to train on."""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from lehr.base.paths import path_of
from lehr.base.values import check_default_device
from lehr.data.bunch import DataBunch
from lehr.data.images.augment import parse_augment
from lehr.data.images.bunch import (
    given_preparation,
    image_bunch,
    on_scale,
    relabel,
    scaled,
)
from lehr.data.images.decode import RESIZES, BrokenImage, load_image, to_tensor
from lehr.data.images.decode_all import Decoded, decode_all, warn_of
from lehr.data.images.fields import given_scale, image_size, one_of
from lehr.data.images.files import FolderFiles, ImageFiles, ZipFiles
from lehr.data.images.folder import FoundImages, Part, same_classes
from lehr.data.images.preparation import ImagePreparation
from lehr.data.split import check_split, random_split
from lehr.errors import positive_int, real_number
from lehr.state.streams import shuffled

if TYPE_CHECKING:
    from lehr.data.images.cache import CachedPixels

IN_MEMORY_BYTES = 1 << 29
"""Pixels that take at most as much are decoded once, unless ``in_memory=`` decides."""

OWN_SIZE_UP_TO = 128
"""Images with at most as many pixels a side keep their size, if they are all alike."""

USUAL_SIZE = (128, 128)
"""Any other images are brought to this."""

_LOOKED_AT, _MEASURED = 64, 1000


def image_folder(
    path: str | Path,
    batch_size: int = 64,
    *,
    valid_share: float = 0.2,
    split: str = "valid",
    split_seed: int = 0,
    size: int | tuple[int, int] | None = None,
    resize: str = "crop",
    normalize: bool | Sequence[Any] = True,
    augment: str | None = None,
    skip_broken: bool = False,
    in_memory: bool | None = None,
    num_workers: int = 0,
    cache: bool | str | Path = False,
    preparation: ImagePreparation | None = None,
    flat: bool = False,
    drop_last: bool = False,
    seed: int | None = None,
) -> DataBunch:
    """Images in a folder for each class, ready to train on.

    The folders of the classes lie in ``path`` itself, or in ``train/`` beside ``valid/`` (or
    ``val/``, ``validation/``) or ``test/`` or both; folders that hold nothing but one folder are
    gone into. A zip is read as it is, never unpacked to disk.

    Args:
        path: the folder, or a zip of it.
        batch_size: of training; validation has twice that.
        valid_share: share of the training images kept for validation where there is no
            ``valid/``.
        split: ``"valid"``; ``"test"`` to train on everything else and validate on ``test/``; or
            ``"all"``, with a ``preparation`` only, to evaluate on every image of every part, which
            both loaders have then. A single class will do for that.
        split_seed: decides which images are kept for validation.
        size: height and width, or one number for both. None keeps the images' own where the 64 of
            a sample are all alike and at most 128 pixels a side; else it is 128 by 128.
        resize: ``"crop"`` cuts images of another shape in the middle, ``"squish"`` keeps all of
            them and changes the shape.
        normalize: bring each channel to mean 0 and standard deviation 1 over the training images
            (over 1,000 of them where they are not in memory); else pixels are in [0, 1]. Or a pair
            ``(mean, std)`` of numbers for each channel, as a pretrained model expects them; the
            images then get as many channels, and grey ones the same in each.
        augment: changes training images at random: ``"flip"``, ``"shift"``, ``"rotate"``, or
            several joined by ``+``.
        skip_broken: leave out files that cannot be decoded, and warn; else they are an error.
        in_memory: decode everything once, now; by default if the pixels take 512 MiB at most.
            Else files are decoded every epoch, and with ``skip_broken`` once more now.
        num_workers: processes that decode, now or every epoch.
        cache: keep the decoded pixels on disk, from where later epochs and later trainings read
            them. They are decoded now, unless they are there: made from files of the same names,
            sizes and times, of the content and of the file, by the same decoder. True keeps them
            in ``images/`` in the folder that the environment variable LEHR_CACHE names, or else in
            the system's usual place for such things; a path says where. The batches are the same
            as without.
        preparation: of an earlier run; decides mode, size, resize, scale and labels instead.
        flat: inputs of one dimension.
        drop_last: leave out a last training batch that is not full.
        seed: see `lehr.data.DataLoader`.

    Returns:
        A DataBunch; ``xb`` is float32 ``(batch, 1 or 3, height, width)``, grey if all images of
        the sample are, and ``yb`` int64 ``(batch,)``, places in ``classes``.

    Raises:
        FileNotFoundError: there is no such path.
        BrokenImage: a file cannot be decoded, and ``skip_broken`` is False.
        ValueError: the images are not laid out by class, or an argument is wrong.
        TypeError: an argument is of the wrong type.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from lehr.data.images.decode import to_image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for i in range(20):
        ...         folder = Path(root, "dark" if i % 2 else "light")
        ...         folder.mkdir(exist_ok=True)
        ...         pixels = torch.full((1, 8, 8), 40 if i % 2 else 200, dtype=torch.uint8)
        ...         to_image(pixels).save(folder / f"{i}.png")
        ...     bunch = image_folder(root, batch_size=4)
        >>> bunch, bunch.classes, bunch.preparation.item_shape
        (DataBunch(train: 4 batches, valid: 1 batches, c=2), ('dark', 'light'), (1, 8, 8))
    """
    check_default_device("loaded")
    positive_int("batch_size", batch_size)
    positive_int("num_workers", num_workers, least=0, example=0)
    if in_memory not in (None, True, False):
        raise TypeError(f"in_memory must be a bool or None; got {in_memory!r}. Leave it out.")
    real_number("valid_share", valid_share)
    parse_augment(augment)  # what is wrong is said before an hour of decoding
    scale = given_scale(normalize)
    wanted = None if size is None else image_size("size", size)
    resize = one_of("resize", resize, RESIZES)
    check_split(split, preparation, ("valid", "test", "all"))
    folder = _cache_folder(cache)
    found = FoundImages(path)
    parts = _parts(found, split, valid_share, split_seed)
    if preparation is None:
        with _hint(skip_broken):
            mode, own = _look(parts[0].files, skip_broken)
        form = ImagePreparation(parts[0].names, mode, wanted or own, resize, flat=flat)
        form = form if scale is None else on_scale(form, scale)
    else:
        form = given_preparation(preparation, size)
        parts = [replace(p, labels=relabel(p.labels, p.names, form)) for p in parts]
    n_images = sum(map(len, parts))
    n_bytes = n_images * math.prod(form.item_shape)
    held = n_bytes <= IN_MEMORY_BYTES if in_memory is None else in_memory
    used = ",".join(name for name in found.splits if split != "valid" or name != "test")
    with _hint(skip_broken):
        done = _read(
            [part.files for part in parts],
            form,
            held=held,
            cache=None if cache is False else (folder, used),
            skip_broken=skip_broken,
            num_workers=num_workers,
        )
    warn_of([fault for of, _ in done for fault in of.faults], n_images)
    kept = [part.files.take(of.whole) for part, (of, _) in zip(parts, done, strict=True)]
    ready = [
        (pixels, part.labels[of.whole]) for part, (of, pixels) in zip(parts, done, strict=True)
    ]
    if normalize and scale is None and preparation is None:
        with _hint(skip_broken):
            form = scaled(form, _sample_pixels(ready[0][0], form, num_workers))
    return image_bunch(
        ready[0],
        ready[-1],
        form,
        batch_size,
        augment=augment,
        drop_last=drop_last,
        seed=seed,
        num_workers=num_workers if isinstance(ready[0][0], (FolderFiles, ZipFiles)) else 0,
        names=(kept[0].name, kept[-1].name),
    )


def _cache_folder(cache: Any) -> Path | None:
    """The folder that was asked for; None for the usual one, or for none at all."""
    if isinstance(cache, bool):
        return None
    if not isinstance(cache, (str, Path)) or not str(cache):
        raise TypeError(
            f"cache must be a bool or the path of a folder; got {cache!r}. Give cache=True."
        )
    folder = path_of(cache)
    if folder.is_file():
        raise ValueError(f"cache must be the path of a folder; {cache} is a file. Give a folder.")
    return folder


def _read(
    lots: Sequence[ImageFiles],
    form: ImagePreparation,
    *,
    held: bool,
    cache: tuple[Path | None, str] | None,
    skip_broken: bool,
    num_workers: int,
) -> list[tuple[Decoded, "Tensor | ImageFiles | CachedPixels"]]:
    """What is known of each lot of files, and where its pixels are to be had from now on."""
    if cache is not None:
        from lehr.data.images.cache import cached  # most trainings have none

        folder, used = cache
        stored = cached(
            lots, form, folder, of=used, skip_broken=skip_broken, num_workers=num_workers
        )
        if stored is not None:
            return [
                (of, rows.gather(torch.arange(len(rows))) if held else rows) for of, rows in stored
            ]
    if not held and not skip_broken:
        nothing = torch.empty(0, dtype=torch.uint8)
        return [(Decoded(nothing, torch.arange(len(lot)), []), lot) for lot in lots]
    done = [
        decode_all(lot, form, skip_broken=skip_broken, keep=held, num_workers=num_workers)
        for lot in lots
    ]
    return [
        (of, of.pixels if held else lot.take(of.whole)) for lot, of in zip(lots, done, strict=True)
    ]


@contextmanager
def _hint(skip_broken: bool) -> Generator[None]:
    """Errors of images that cannot be decoded say what could be done about them here."""
    try:
        yield
    except BrokenImage as error:
        if skip_broken:
            raise
        hint = "Or give skip_broken=True, which leaves such files out."
        todo = f"{error.todo} {hint}".strip()
        raise BrokenImage(error.fault, todo) from error


def _parts(images: FoundImages, split: str, share: float, split_seed: int) -> list[Part]:
    """What to train and what to validate on; of everything, once."""
    if split == "all":
        return [images.whole()]
    if split == "test":
        if "test" not in images.splits:
            raise ValueError(
                f"split='test' needs a folder test/ beside train/; {images.path} has "
                f"{', '.join(f'{name}/' for name in images.splits)} only. "
                "Leave split out to validate on a part of the training images."
            )
        train = images.part(*(name for name in images.splits if name != "test"))
        valid = images.part("test")
    elif "valid" in images.splits:
        train, valid = images.part("train"), images.part("valid")
    else:
        whole = images.part("train")
        train, valid = map(whole.take, random_split(len(whole), share, split_seed))
    same_classes("train", train.names, split, valid.names)
    return [train, valid]


def _look(files: ImageFiles, skip_broken: bool) -> tuple[str, tuple[int, int]]:
    """Mode and size that suit the images, from a sample that depends on their number alone."""
    sizes: set[tuple[int, int]] = set()
    grey, faults = True, list[BrokenImage]()
    chosen = shuffled(len(files), 0)[:_LOOKED_AT].sort().values
    for i in cast("list[int]", chosen.tolist()):
        try:
            image = load_image(files.read(i), "own", None, "crop", name=files.name(i))
        except BrokenImage as error:
            if not skip_broken:
                raise
            faults.append(error.alone())
            continue
        sizes.add((image.height, image.width))
        if grey and image.mode == "RGB":
            pixels = to_tensor(image)
            grey = bool((pixels == pixels[:1]).all())
    if not sizes:
        fault = f"none of {len(faults)} images looked at can be decoded. {faults[0].fault}"
        raise BrokenImage(fault, faults[0].todo)
    alike = len(sizes) == 1 and max(next(iter(sizes))) <= OWN_SIZE_UP_TO
    return "L" if grey else "RGB", next(iter(sizes)) if alike else USUAL_SIZE


def _sample_pixels(
    images: "Tensor | ImageFiles | CachedPixels", form: ImagePreparation, workers: int
) -> Tensor:
    """The pixels to measure: all in memory, or else a sample."""
    if isinstance(images, Tensor):
        return images
    chosen = shuffled(len(images), 1)[:_MEASURED].sort().values
    if not isinstance(images, (FolderFiles, ZipFiles)):
        return images.gather(chosen)
    return decode_all(images.take(chosen), form, num_workers=workers).pixels

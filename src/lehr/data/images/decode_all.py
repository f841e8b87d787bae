"""Many files into pixels, once, in this process or in several."""

import math
import warnings
from collections.abc import Generator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lehr.data.images.decode import BrokenImage, decode
from lehr.data.images.files import ImageFiles
from lehr.data.images.preparation import ImagePreparation
from lehr.data.loading.fetch import Fetch, Request

_AT_ONCE, _BYTES_AT_ONCE = 256, 1 << 21  # workers answer through shared memory, which is scarce


class Decoded(NamedTuple):
    """What came of some files."""

    pixels: Tensor
    """uint8 ``(whole, channels, height, width)``; no channels, nothing, where nothing is kept."""
    whole: Tensor
    """int64, which of the files could be decoded."""
    faults: list[BrokenImage]
    """What is wrong with each of the others."""


class _Decoder:
    """A dataset whose batches are pixels and the faults of files that have none."""

    def __init__(self, files: ImageFiles, preparation: ImagePreparation, keep: bool) -> None:
        self.files, self.preparation, self.keep = files, preparation, keep

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Decoded:
        return self.gather(torch.tensor([i]))

    def gather(self, indices: Tensor) -> Decoded:
        """Those of the files at ``indices`` that can be decoded."""
        form = self.preparation
        pixels = torch.empty(0, dtype=torch.uint8)
        if self.keep:
            pixels = torch.empty(len(indices), form.channels, *form.size, dtype=torch.uint8)
        whole: list[int] = []
        faults: list[BrokenImage] = []
        for i in cast("list[int]", indices.tolist()):
            try:
                image = decode(
                    self.files.read(i), form.mode, form.size, form.resize, name=self.files.name(i)
                )
            except BrokenImage as error:
                faults.append(error.alone())
                continue
            if self.keep:
                pixels[len(whole)] = image
            whole.append(i)
        return Decoded(pixels[: len(whole)], torch.tensor(whole, dtype=torch.int64), faults)


def decode_all(
    files: ImageFiles,
    preparation: ImagePreparation,
    *,
    skip_broken: bool = False,
    keep: bool = True,
    num_workers: int = 0,
) -> Decoded:
    """Every file as pixels of the preparation's mode and size.

    Args:
        files: where they are.
        preparation: decides mode and size; nothing is scaled.
        skip_broken: leave out what cannot be decoded; else it is an error.
        keep: whether to return pixels, or only to find out which files are whole.
        num_workers: processes that decode; 0 for this one.

    Raises:
        BrokenImage: a file cannot be decoded, or with ``skip_broken`` none can.

    Example:
        >>> from lehr.data.images.files import FolderFiles
        >>> decode_all(FolderFiles(".", []), ImagePreparation(("a",), "L", (8, 8))).pixels.shape
        torch.Size([0, 1, 8, 8])
    """
    n, form = len(files), preparation
    rows = torch.empty(n if keep else 0, form.channels, *form.size, dtype=torch.uint8)
    filled, whole, faults = 0, [torch.empty(0, dtype=torch.int64)], list[BrokenImage]()
    for part in decoded_parts(files, preparation, keep=keep, num_workers=num_workers):
        if part.faults and not skip_broken:
            raise part.faults[0]
        if keep:
            rows[filled : filled + len(part.pixels)] = part.pixels
        filled += len(part.whole)
        whole.append(part.whole)
        faults += part.faults
    if faults and not filled:
        first = faults[0]
        fault = f"none of {n} images can be decoded. The first: {first.fault}"
        raise BrokenImage(fault, first.todo)
    return Decoded(rows[:filled], torch.cat(whole), faults)


def decoded_parts(
    files: ImageFiles, preparation: ImagePreparation, *, keep: bool = True, num_workers: int = 0
) -> Generator[Decoded]:
    """What came of each lot of files, some hundred at once, in their order; see `decode_all`."""
    decoder = _Decoder(files, preparation, keep)
    fetch = Fetch(decoder)
    n = len(decoder)
    at_once = max(1, min(_AT_ONCE, _BYTES_AT_ONCE // math.prod(preparation.item_shape)))
    requests = (
        Request(list(range(first, min(first + at_once, n))), 0, 0, number)
        for number, first in enumerate(range(0, n, at_once))
    )
    if not num_workers or n <= _AT_ONCE:
        yield from map(fetch, requests)
        return
    from lehr.data.loading.workers import Workers

    workers = Workers(fetch, num_workers)
    try:
        yield from workers.answers(requests)
    finally:
        workers.close()


def warn_of(faults: Sequence[BrokenImage], n: int) -> None:
    """Warn that some of ``n`` images are left out, naming the first few."""
    if faults:
        first = "; ".join(broken.fault for broken in faults[:3])
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        warnings.warn(
            f"{len(faults)} of {n} images cannot be decoded and are left out: {first}{more}.",
            stacklevel=3,
        )

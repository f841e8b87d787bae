"""Images with labels, read and prepared a batch at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from lehr.data.images.augment import parse_augment
from lehr.data.images.decode import decode
from lehr.data.images.files import FolderFiles, ImageFiles, ZipFiles
from lehr.data.images.preparation import ImagePreparation
from lehr.data.loading.dataset import as_tensor

if TYPE_CHECKING:
    from lehr.data.images.cache import CachedPixels


class Images:
    """A dataset of images: pixels in memory or in a cache, or files that are decoded by batch.

    What is kept are bytes, a quarter of the memory of prepared numbers. Augmentation draws from
    torch's default generator, which a `lehr.data.DataLoader` keys by (seed, epoch, batch): an
    augmented batch is a function of its position, with any number of workers.

    Args:
        pixels: uint8 ``(n, channels, height, width)``; or those in a cache; or files.
        y: the label of each, whole numbers, ``(n,)``.
        preparation: decides mode, size and scale.
        augment: see `lehr.data.images.augment.parse_augment`.
        white: the number of a white pixel.
        names: ``index -> text``, what to call an image in memory before a reader.

    Raises:
        ValueError: there is not one label an image, or pixels do not fit the preparation.
        TypeError: labels are no whole numbers.

    Example:
        >>> from lehr.data import ImagePreparation
        >>> pixels = torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)
        >>> ds = Images(pixels, [0, 1, 1], ImagePreparation(("cat", "dog"), "L", (2, 2)))
        >>> x, y = ds[2]
        >>> x.flatten(), y
        (tensor([0.2000, 0.2000, 0.2000, 0.2000]), tensor(1))
        >>> ds.gather(torch.tensor([0, 2]))[0].shape
        torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self,
        pixels: "Tensor | ImageFiles | CachedPixels",
        y: Any,
        preparation: ImagePreparation,
        *,
        augment: str | None = None,
        white: int = 255,
        names: Callable[[int], str] | None = None,
    ) -> None:
        self.pixels, self.names = pixels, names
        self.y = as_tensor("y", y)
        self.preparation = preparation
        self.augment = augment
        self.white = white
        self._augment = parse_augment(augment)
        if self.y.is_floating_point() or self.y.is_complex() or self.y.dtype == torch.bool:
            raise TypeError(
                f"y must hold whole numbers, the labels; got {self.y.dtype}. Use y.long()."
            )
        if self.y.shape != (len(pixels),):
            raise ValueError(
                f"y must have one label an image, {len(pixels)} in all; got shape "
                f"{tuple(self.y.shape)}. Give a tensor of shape ({len(pixels)},)."
            )
        self.y = self.y.long()
        if isinstance(pixels, Tensor):
            preparation(pixels[:0])  # refuses what does not fit

    @property
    def draws(self) -> bool:
        """Whether a batch is a matter of chance."""
        return bool(self._augment)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: Any) -> tuple[Tensor, Tensor]:
        if isinstance(i, int) and not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is outside a dataset of {len(self)} items")
        indices = torch.arange(len(self))[i]
        x, y = self.gather(indices.reshape(-1))
        return (x, y) if indices.ndim else (x[0], y[0])

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The items at ``indices``, augmented and prepared together.

        Args:
            indices: int64, ``(batch,)``.

        Returns:
            ``xb``, float32 ``(batch, ...)``, and ``yb``, int64 ``(batch,)``.

        Raises:
            BrokenImage: a file cannot be decoded.
        """
        batch = self.raw(indices)
        for change in self._augment:
            batch = change(batch)
        return self.preparation(batch, self.white), self.y.index_select(0, indices)

    def raw(self, indices: Tensor) -> Tensor:
        """The pixels at ``indices``, neither augmented nor scaled: uint8 ``(batch, c, h, w)``."""
        if isinstance(self.pixels, Tensor):
            return self.pixels.index_select(0, indices)
        files = self.pixels
        if not isinstance(files, (FolderFiles, ZipFiles)):
            return files.gather(indices)
        if not len(indices):
            return torch.empty(
                0, self.preparation.channels, *self.preparation.size, dtype=torch.uint8
            )
        numbers = cast("list[int]", indices.tolist())
        return torch.stack([_read(files, i, self.preparation) for i in numbers])

    def name(self, i: int) -> str:
        """What to call item ``i`` before a reader: its file, or its number."""
        if isinstance(self.pixels, Tensor):
            return f"item {i}" if self.names is None else self.names(i)
        return self.pixels.name(i)

    def __repr__(self) -> str:
        in_files = isinstance(self.pixels, (FolderFiles, ZipFiles))
        held = "in memory" if isinstance(self.pixels, Tensor) else "in a cache"
        held = "in files" if in_files else held
        shape = (self.preparation.channels, *self.preparation.size)
        changed = f", augment={self.augment!r}" if self.augment else ""
        return f"Images({len(self)} {held}, {'×'.join(map(str, shape))}{changed})"


def _read(files: FolderFiles | ZipFiles, i: int, preparation: ImagePreparation) -> Tensor:
    mode, size, resize = preparation.mode, preparation.size, preparation.resize
    return decode(files.read(i), mode, size, resize, name=files.name(i))

"""How images are brought into a model: mode, size, scale."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from lehr.base.paths import path_of
from lehr.data.images.decode import MODES, decode
from lehr.data.images.fields import written_out
from lehr.data.images.folder import zipped_images
from lehr.errors import positive_int

_AT_ONCE = 1 << 18  # numbers


@dataclass(frozen=True)
class ImagePreparation:
    """Images of one mode and size, on one scale; the same for training, evaluation and prediction.

    A pixel ``p`` of 0 to 255 becomes ``(p / 255 - mean) / std``, with the numbers of its channel.

    Args:
        classes: the names of the classes, by label.
        mode: ``"L"`` (grey, one channel) or ``"RGB"`` (three).
        size: height and width.
        resize: ``"crop"`` cuts an image of another shape in the middle, ``"squish"`` changes its
            shape.
        mean: of each channel, where black is 0 and white 1; by default 0.
        std: standard deviation of each channel, above 0; by default 1.
        flat: inputs of shape ``(channels * height * width,)``.

    Raises:
        ValueError: a field is of another type or out of range, or does not fit another field.
        TypeError: ``size`` is no int and no pair of them, or ``mean`` or ``std`` no number.

    Example:
        >>> preparation = ImagePreparation(("cat", "dog"), "L", (1, 3), mean=(0.5,), std=(0.5,))
        >>> preparation(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))
        tensor([[[[-1.0000, -0.6000,  1.0000]]]])
        >>> ImagePreparation.from_dict(preparation.to_dict()) == preparation
        True
    """

    kind: ClassVar[str] = "image"

    classes: tuple[str, ...]
    mode: str
    size: tuple[int, int]
    resize: str = "crop"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flat: bool = False

    def __post_init__(self) -> None:
        from lehr.data.stored_fields import ImageFields, settle

        settle(self, ImageFields, **written_out(self))

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return MODES[self.mode]

    @property
    def item_shape(self) -> tuple[int, ...]:
        """``(channels, height, width)``, or their product if flat."""
        height, width = self.size
        full = (self.channels, height, width)
        return (self.channels * height * width,) if self.flat else full

    def to_dict(self) -> dict[str, Any]:
        """The fields as strings, numbers and lists, and the kind."""
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "mode": self.mode,
            "size": list(self.size),
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
            "flat": self.flat,
        }

    @classmethod
    def from_dict(cls, values: Any) -> "ImagePreparation":
        """The preparation that `to_dict` wrote down; trusts nothing in it.

        Raises:
            ValueError: a field is missing, unknown, of another type or out of range.
        """
        from lehr.data.stored_fields import ImageFields, stored_fields

        return cls(**stored_fields(ImageFields, values, "a preparation of images"))

    def __call__(self, pixels: Tensor, white: int = 255) -> Tensor:
        """Pixels on the scale of the model.

        Args:
            pixels: uint8 ``(n, channels, height, width)``.
            white: the number of a white pixel.

        Returns:
            float32 of the same shape, or ``(n, channels * height * width)`` if flat.

        Raises:
            ValueError: the pixels are of another type, mode or size.
        """
        wanted = (self.channels, *self.size)
        if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != wanted:
            raise ValueError(
                f"pixels must be uint8 of shape (n, {', '.join(map(str, wanted))}); got "
                f"{pixels.dtype} of shape {tuple(pixels.shape)}. Bring them to the mode and size "
                "of the preparation, e.g. with lehr.data.images.decode.decode."
            )
        scale = _scale(self.mean, self.std, white, pixels.device)
        if pixels.numel() <= _AT_ONCE or not pixels.is_cpu:
            x = _scaled(pixels.float(), white, scale)
        else:  # few at a time, for the processor's cache
            x = _new(pixels.shape)
            few = max(1, _AT_ONCE * len(pixels) // pixels.numel())
            for first in range(0, len(pixels), few):
                part = slice(first, first + few)
                _scaled(x[part].copy_(pixels[part]), white, scale)
        return x.flatten(1) if self.flat else x

    def batches(
        self, files: Sequence[Path], batch_size: int = 64
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Image files, decoded and prepared as in training: their paths, and ``xb`` of as many.

        A ``.zip`` stands for the images in it.

        Raises:
            FileNotFoundError: a file is not there.
            BrokenImage: a file cannot be decoded.
            ValueError: a zip is damaged, or holds no images.
        """
        batch_size = positive_int("batch_size", batch_size)
        images = _images(map(path_of, files))
        while chosen := list(islice(images, batch_size)):
            pixels = [
                decode(source, self.mode, self.size, self.resize, name=name)
                for name, source in chosen
            ]
            yield [name for name, _ in chosen], self(torch.stack(pixels))

    def answers(self, pred: Tensor) -> Tensor:
        """The predictions as they are: they are of classes."""
        return pred

    def picture(self, x: Tensor) -> Tensor:
        """One prepared input as uint8 ``(height, width, 3)``."""
        x = x.detach().cpu().float().reshape(self.channels, *self.size)
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        pixels = (x * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
        return pixels.expand(3, *self.size).permute(1, 2, 0).contiguous()

    def in_words(self, x: Tensor) -> str:
        """The size, and how bright it is: 0 is black, 1 is white.

        Example:
            >>> ImagePreparation(("a",), "L", (2, 3)).in_words(torch.ones(1, 2, 3))
            'grey image of 2×3, brightness 1.00'
        """
        colour = "grey" if self.mode == "L" else "colour"
        brightness = self.picture(x).float().mean() / 255
        return f"{colour} image of {self.size[0]}×{self.size[1]}, brightness {brightness:.2f}"


def _scaled(x: Tensor, white: int, scale: tuple[Tensor, Tensor] | None) -> Tensor:
    """``x`` itself, brought to the scale of the model."""
    return x.div_(white) if scale is None else x.sub_(scale[0]).div_(scale[1])


def _new(shape: torch.Size) -> Tensor:
    """An empty tensor; in a worker process one that can be sent without being copied."""
    make: Any = getattr(torch.UntypedStorage, "_new_shared", None)  # as torch's own collation does
    if get_worker_info() is None or make is None:
        return torch.empty(shape, dtype=torch.float32)
    empty: Any = torch.empty(0, dtype=torch.float32)
    return empty.set_(make(4 * shape.numel()), 0, shape)


@lru_cache(maxsize=64)
def _scale(
    mean: tuple[float, ...], std: tuple[float, ...], white: int, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation where white is ``white``, ``(channels, 1, 1)``; None if they are 0 and 1.

    They are made once, and not for every batch.
    """
    if not any(mean) and all(value == 1 for value in std):
        return None
    with torch.inference_mode(False):
        make = partial(torch.tensor, dtype=torch.float32, device=device)
        return make(mean).view(-1, 1, 1) * white, make(std).view(-1, 1, 1) * white


def _images(files: Iterable[Path]) -> Iterator[tuple[str, Path | bytes]]:
    """What each image is called, and where its content is."""
    for file in files:
        if file.suffix.lower() == ".zip":
            inside = zipped_images(file)
            yield from ((inside.name(i), inside.read(i)) for i in range(len(inside)))
        else:
            yield str(file), file


def statistics(pixels: Tensor, white: int = 255) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, where white is 1; exact, from counts.

    The deviation is that of a sample, with ``n - 1``, as for numbers (see
    `lehr.data.array_sets.scale`). A channel that is the same everywhere has the deviation 1, so
    that nothing is divided by 0.

    Args:
        pixels: uint8 ``(n, channels, height, width)``.
        white: the number of a white pixel.

    Example:
        >>> statistics(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        ((0.5,), (0.7071067811865476,))
    """
    counts = torch.zeros(pixels.shape[1], 256, dtype=torch.float64)
    for start in range(0, len(pixels), 4096):
        part = pixels[start : start + 4096]
        for channel in range(pixels.shape[1]):
            counts[channel] += torch.bincount(part[:, channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / white
    n = counts.sum(1, keepdim=True)
    mean = (counts * values).sum(1, keepdim=True) / n
    variance = (counts * (values - mean) ** 2).sum(1) / (n[:, 0] - 1).clamp(min=1)
    std = torch.where((counts > 0).sum(1) > 1, variance.sqrt(), 1.0)
    return tuple(map(float, mean[:, 0])), tuple(map(float, std))

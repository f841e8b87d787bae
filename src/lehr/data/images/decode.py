"""One image file into pixels."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lehr.base.reading import read_plain

MODES = {"L": 1, "RGB": 3}
"""The colour modes that pixels come in, with their channels."""

RESIZES = ("crop", "squish")
"""How an image is brought to a size: cut to its shape in the middle, or with its shape changed."""

LARGEST_FILE = 1 << 28
"""Bytes that a file of an image may have, also one that a zip unpacks."""

DECODING = 1
"""Rises when the same file and Pillow give other pixels: what was kept of them is made anew."""

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


class BrokenImage(ValueError):  # noqa: N818 (what is broken is the file)
    """A file that cannot be decoded as an image.

    Args:
        fault: names the file and what is wrong with it, without a full stop.
        todo: what to do about it, in whole sentences.

    Example:
        >>> error = BrokenImage("a.png cannot be decoded: it is empty", "Remove it.")
        >>> str(error), error.fault
        ('a.png cannot be decoded: it is empty. Remove it.', 'a.png cannot be decoded: it is empty')
    """

    def __init__(self, fault: str, todo: str = "") -> None:
        super().__init__(fault, todo)
        self.fault, self.todo = fault, todo

    def alone(self) -> "BrokenImage":
        """The same fault without its traceback, which would keep what was read in memory."""
        return BrokenImage(self.fault, self.todo)

    def __str__(self) -> str:
        return f"{self.fault}. {self.todo}" if self.todo else self.fault


def decode(
    source: Path | bytes,
    mode: str = "RGB",
    size: tuple[int, int] | None = None,
    resize: str = "crop",
    *,
    name: str | None = None,
) -> Tensor:
    """The pixels of one image file: turned as its EXIF orientation says, in one mode and size.

    Transparent parts are put on white; of several frames the first counts; 16-bit grey is brought
    to 8 bits. Only the usual formats are read, whatever the file's name says.

    Args:
        source: the file, or its content.
        mode: ``"L"`` for grey, ``"RGB"`` for colour.
        size: height and width, see `fit`; None keeps the image's own.
        resize: see `fit`.
        name: what messages call the image; by default the path.

    Returns:
        uint8 ``(channels, height, width)``.

    Raises:
        FileNotFoundError: there is no such file.
        BrokenImage: it cannot be decoded, is no plain file, is larger than `LARGEST_FILE`, or
            announces more pixels than Pillow's ``Image.MAX_IMAGE_PIXELS`` allows.

    Example:
        >>> content = b"P5 2 1 255 " + bytes([0, 255])
        >>> decode(content, "L"), decode(content, "RGB").shape
        (tensor([[[  0, 255]]], dtype=torch.uint8), torch.Size([3, 1, 2]))
    """
    if isinstance(source, bytes):
        name = name or f"an image of {len(source)} bytes"
        return to_tensor(load_image(source, mode, size, resize, name=name))
    return to_tensor(load_image(read_image(source), mode, size, resize, name=name or str(source)))


def read_image(path: Path) -> bytes:
    """The content of one image file.

    Raises:
        BrokenImage: it is no plain file, such as a named pipe, or larger than `LARGEST_FILE`.
        OSError: it is not there, or cannot be read.
    """
    try:
        return read_plain(path, LARGEST_FILE)
    except ValueError as error:
        raise BrokenImage(str(error).removesuffix(".")) from None


def load_image(
    content: bytes, mode: str, size: tuple[int, int] | None, resize: str, *, name: str
) -> Any:
    """The same as a Pillow image; ``mode`` may be ``"own"``, which is L for grey, else RGB."""
    from PIL import Image, ImageOps

    try:
        if not content:
            raise EOFError("it is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata; the pixels are there or not
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if size is not None and min(image.size) >= 4 * max(size):
                    image.draft(None, (2 * max(size), 2 * max(size)))  # a JPEG halved, and again
                ImageOps.exif_transpose(image, in_place=True)
                own = "L" if image.mode in _GREY else "RGB"
                return fit(_converted(image, own if mode == "own" else mode), size, resize)
    except MemoryError:
        raise
    except Exception as error:  # decoders meet damage with errors of a dozen types
        text = str(error) or type(error).__name__
        if type(error).__name__ == "UnidentifiedImageError":
            text = f"it is none of {', '.join(_FORMATS)}"
        raise BrokenImage(
            f"{name} cannot be decoded as an image: {text}", "Replace or remove the file."
        ) from error


def _converted(image: Any, mode: str) -> Any:
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        import numpy as np

        deep = np.asarray(image)
        if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"pixels of mode {image.mode} are not of 8 or 16 bits")
        image = Image.fromarray((deep // 257).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert(mode)
    return image if image.mode == mode else image.convert(mode)


def fit(image: Any, size: tuple[int, int] | None, resize: str = "crop") -> Any:
    """A Pillow image at another size, with the pixels between them averaged (Lanczos).

    Args:
        image: of mode L or RGB.
        size: height and width; None keeps it as it is.
        resize: ``"crop"`` cuts the largest part of the right shape out of the middle (the shorter
            side fits, the longer one is cut), ``"squish"`` keeps all and changes the shape.

    Example:
        >>> from PIL import Image
        >>> fit(Image.new("L", (40, 20)), (10, 10)).size
        (10, 10)
    """
    from PIL import Image

    if size is None or image.size == (size[1], size[0]):
        return image
    width, height = image.size
    box = (0.0, 0.0, float(width), float(height))
    if resize == "crop":
        scale = min(width / size[1], height / size[0])
        x, y = (width - scale * size[1]) / 2, (height - scale * size[0]) / 2
        box = (max(x, 0.0), max(y, 0.0), min(width - x, width), min(height - y, height))
    return image.resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box)


def to_tensor(image: Any) -> Tensor:
    """A Pillow image of mode L or RGB as uint8 ``(channels, height, width)``.

    Example:
        >>> from PIL import Image
        >>> to_tensor(Image.new("RGB", (2, 1), "red")).flatten(1).tolist()
        [[255, 255], [0, 0], [0, 0]]
    """
    import numpy as np

    array = np.array(image)  # (height, width) or (height, width, 3)
    return torch.from_numpy(
        array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
    )


def to_image(pixels: Tensor) -> Any:
    """The opposite: uint8 ``(1 or 3, height, width)`` as a Pillow image.

    Example:
        >>> to_image(torch.zeros(3, 4, 5, dtype=torch.uint8)).size
        (5, 4)
    """
    from PIL import Image

    grey = len(pixels) == 1
    return Image.fromarray((pixels[0] if grey else pixels.permute(1, 2, 0)).contiguous().numpy())

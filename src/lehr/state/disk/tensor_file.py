"""Tensors in the safetensors format: written without copying them, read without trusting the file.

The format is eight bytes with the length of a header, the header in JSON (dtype, shape and place of
each tensor by name), and the values. Any tool that knows safetensors reads it.
"""

import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor

from lehr.base import strict_json
from lehr.base.reading import open_plain
from lehr.state.disk.plain import DTYPES
from lehr.state.pieces import Pieces

Part = bytes | memoryview

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_SMALL = 1 << 16  # bytes; smaller tensors are gathered, for a call to the system costs more
_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit


def encode(tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> list[Part]:
    """The bytes of a file with these tensors, in parts; large tensors are parts without a copy.

    Args:
        tensors: contiguous, on the CPU, of a dtype in `lehr.state.disk.plain.DTYPES`.
        notes: texts by name, which the format has a place for.

    Raises:
        ValueError: a tensor is called ``__metadata__``.

    Example:
        >>> parts = encode({"bias": torch.tensor([1.0, 2.0])})
        >>> decode(bytearray().join(parts))
        {'bias': tensor([1., 2.])}
    """
    first, names = _header(tensors, notes or {})
    return _gathered([first, *(_bytes(tensors[name]) for name in names if tensors[name].nbytes)])


def stream(tensors: Mapping[str, Tensor | Pieces]) -> Iterator[Part]:
    """What `encode` gives, one tensor after the other: of pieces, one tensor is held at a time.

    Example:
        >>> pieces = Pieces([torch.tensor([1.0, 2.0])].__getitem__, (2,), torch.float32)
        >>> decode(bytearray().join(stream({"bias": pieces})))
        {'bias': tensor([1., 2.])}
    """
    first, names = _header(tensors, {})
    yield first
    for name in names:
        tensor = tensors[name]
        yield _bytes(tensor.read() if isinstance(tensor, Pieces) else tensor)


def _header(
    tensors: Mapping[str, Tensor | Pieces], notes: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """The beginning of a file, and the order in which the tensors follow."""
    if "__metadata__" in tensors:
        raise ValueError("a tensor cannot be called '__metadata__': the format needs that name.")
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **notes}}
    end = 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)  # all are aligned
    for name, tensor in ordered:
        shape = list(tensor.shape)
        begin, end = end, end + math.prod(shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": shape,
            "data_offsets": [begin, end],
        }
    text = strict_json.dump(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, [name for name, _ in ordered]


def _bytes(tensor: Tensor) -> memoryview:
    if tensor.nbytes < _SMALL:  # torch can no longer resize what NumPy has seen: observers do that
        tensor = tensor.clone()
    return memoryview(cast("Any", tensor.reshape(-1).view(torch.uint8).numpy()))


def _gathered(parts: Iterable[Part]) -> list[Part]:
    gathered: list[Part] = []
    small: list[Part] = []
    for part in parts:
        if len(part) < _SMALL:
            small.append(part)
            continue
        gathered += [b"".join(small), part] if small else [part]
        small = []
    return [*gathered, b"".join(small)] if small else gathered


def decode(data: bytearray) -> dict[str, Tensor]:
    """The tensors of a file, each in its own memory.

    Raises:
        ValueError: it is no such file, or one that contradicts itself.

    Example:
        >>> decode(bytearray())
        Traceback (most recent call last):
            ...
        ValueError: it is shorter than its header
    """
    size = _header_size(data[:8], len(data))
    places = _places(memoryview(data)[8 : 8 + size], size, len(data))
    return {name: _view(data, 8 + size, place).clone() for name, place in places.items()}


@final
class Mapped:
    """A file whose tensors are views of it: what of them is not looked at is not read.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no such file, or one that contradicts itself.
        OSError: it is not there, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.safetensors")
        ...     _ = path.write_bytes(b"".join(encode({"bias": torch.tensor([1.0, 2.0])})))
        ...     Mapped(path).view("bias")[1:].clone()
        tensor([2.])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_plain(path) as file:
            self.size = os.fstat(file.fileno()).st_size
            size = _header_size(file.read(8), self.size)
            self.places = _places(file.read(size), size, self.size)
        self._start = 8 + size

    def view(self, name: str) -> Tensor:
        """A tensor of the file, which must not be written to.

        Raises:
            ValueError: the file has become another one.
        """
        place = self.places[name]
        if place.begin == place.end:
            return torch.empty(place.shape, dtype=place.dtype)
        with open_plain(self.path) as file:
            if os.fstat(file.fileno()).st_size != self.size:
                raise ValueError(f"{self.path} has become another file while it was read.")
            data = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_COPY)
        return _view(data, self._start, place)

    def pieces(self, name: str) -> Pieces:
        """The same, to be read in parts."""
        place = self.places[name]
        return Pieces(lambda _: self.view(name), tuple(place.shape), place.dtype)


class _Place(NamedTuple):
    dtype: torch.dtype
    shape: list[int]
    begin: int
    end: int


def _header_size(first: bytes | bytearray, whole: int) -> int:
    size = int.from_bytes(first, "little")
    if whole < 8 or size > min(whole - 8, _LARGEST_HEADER):
        raise ValueError("it is shorter than its header")
    return size


def _places(text: bytes | memoryview, size: int, whole: int) -> dict[str, _Place]:
    """Where each tensor is, if they fill the file, one after the other."""
    header = strict_json.parse(text)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    entries = cast("dict[str, Any]", header)
    entries.pop("__metadata__", None)
    places = {name: _place(name, entry) for name, entry in entries.items()}
    end = 0
    for name, (_, _, begin, stop) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != end:
            raise ValueError(f"its tensor {name!r} begins at byte {begin}, not {end}")
        end = stop
    if 8 + size + end != whole:
        raise ValueError(f"its tensors take {end} bytes; it holds {whole - 8 - size}")
    return places


def _place(name: str, entry: Any) -> _Place:
    """Dtype, shape, begin and end of a tensor, if they agree."""
    try:
        word, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        dtype = DTYPES[word]
        sizes = [*shape, begin, end]
        fits = len(shape) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in sizes)
        extent = math.prod(n or 1 for n in shape) * dtype.itemsize if fits else 2**63
        if extent < 2**63 and math.prod(shape) * dtype.itemsize == end - begin:
            return _Place(dtype, shape, begin, end)
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"its tensor {name[:80]!r} is described as {str(entry)[:120]}, which is none")


def _view(data: Any, start: int, place: _Place) -> Tensor:
    dtype, shape, begin, end = place
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    part = torch.frombuffer(data, dtype=torch.uint8, count=end - begin, offset=start + begin)
    if (start + begin) % dtype.itemsize:  # torch looks at such values only in their right places
        part = part.clone()
    return part.view(dtype).reshape(shape)

"""Tensors in the safetensors format: written without copying them, read without trusting the file.

The format is eight bytes with the length of a header, the header in JSON (dtype, shape and place of
each tensor by name), and the values. Any tool that knows safetensors reads it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base import strict_json
from lehr.state.disk.plain import DTYPES

Part = bytes | memoryview

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_SMALL = 1 << 16  # bytes; smaller tensors are gathered, for a call to the system costs more
_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit


def encode(tensors: Mapping[str, Tensor]) -> list[Part]:
    """The bytes of a file with these tensors, in parts; large tensors are parts without a copy.

    Args:
        tensors: contiguous, on the CPU, of a dtype in `lehr.state.disk.plain.DTYPES`.

    Raises:
        ValueError: a tensor is called ``__metadata__``.

    Example:
        >>> parts = encode({"bias": torch.tensor([1.0, 2.0])})
        >>> decode(bytearray().join(parts))
        {'bias': tensor([1., 2.])}
    """
    if "__metadata__" in tensors:
        raise ValueError("a tensor cannot be called '__metadata__': the format needs that name.")
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1].itemsize)  # so all are aligned
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        shape = list(tensor.shape)
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": shape,
            "data_offsets": [begin, end],
        }
    text = strict_json.dump(header)
    text += b" " * (-len(text) % 8)
    first = len(text).to_bytes(8, "little") + text
    return _gathered([first, *(_bytes(tensor) for _, tensor in ordered if tensor.nbytes)])


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
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _LARGEST_HEADER):
        raise ValueError("it is shorter than its header")
    header = strict_json.parse(memoryview(data)[8 : 8 + size])
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
    if 8 + size + end != len(data):
        raise ValueError(f"its tensors take {end} bytes; it holds {len(data) - 8 - size}")
    return {name: _read(data, 8 + size, *place) for name, place in places.items()}


def _place(name: str, entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """Dtype, shape, begin and end of a tensor, if they agree."""
    try:
        word, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        dtype = DTYPES[word]
        sizes = [*shape, begin, end]
        fits = len(shape) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in sizes)
        extent = math.prod(n or 1 for n in shape) * dtype.itemsize if fits else 2**63
        if extent < 2**63 and math.prod(shape) * dtype.itemsize == end - begin:
            return dtype, shape, begin, end
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"its tensor {name[:80]!r} is described as {str(entry)[:120]}, which is none")


def _read(
    data: bytearray, start: int, dtype: torch.dtype, shape: list[int], begin: int, end: int
) -> Tensor:
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    part = torch.frombuffer(data, dtype=torch.uint8, count=end - begin, offset=start + begin)
    return part.clone().view(dtype).reshape(shape)

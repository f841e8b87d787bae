"""What the data of a pass hold, in short, so that processes see whether they have the same."""

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from lehr.base.nested import placed, shape_text, tensors_in
from lehr.data.loading.fetch import gather_in_memory

_ITEMS = 4
_SHOWN = 3
_PIECE = 1 << 18  # numbers that are copied at a time


def of_feed(feed: Any) -> str | None:
    """What the processes must have alike, of data that they share out and that are there already.

    That is all of a list of batches, such as the one batch of a prediction; and of data in memory a
    few items, from the first to the last.

    Args:
        feed: which is about to be read.

    Returns:
        Shapes, dtypes and a checksum; None if each process has its own, or they must be read first.
    """
    if feed.own or feed.engine.world == 1:
        return None
    if isinstance(feed.loader, (list, tuple)):
        return in_words(feed.loader)
    dataset: Any = getattr(feed.loader, "dataset", None)
    gather = gather_in_memory(dataset)
    if gather is None or not (items := len(dataset)):
        return None
    among = sorted({place * (items - 1) // (_ITEMS - 1) for place in range(_ITEMS)})
    return f"{in_words(gather(torch.tensor(among)))} of items {', '.join(map(str, among))}"


def in_words(value: Any) -> str:
    """The first shapes and dtypes in a nesting, and a checksum of all numbers and texts.

    Example:
        >>> in_words([(torch.zeros(2, 3), ["a", "b"])])
        '(2, 3) float32 with checksum 1fbe80a9'
    """
    tensors = list(tensors_in(value))
    words = [*map(_form, tensors[:_SHOWN]), *["…"] * (len(tensors) > _SHOWN)]
    total = crc32(repr([str(text) for text in _texts(value)]).encode())
    for tensor in tensors:
        total = _added(tensor, total)
    return f"{', '.join(words)} with checksum {total:08x}".lstrip()


def _texts(value: Any) -> Iterator[Any]:
    return (part for _, part in placed(value) if isinstance(part, (str, bytes, int, float)))


def _added(tensor: Tensor, total: int) -> int:
    """A checksum with the shape, dtype and numbers of one more tensor."""
    total = crc32(_form(tensor).encode(), total)
    if not _is_plain(tensor):
        return total
    numbers: Any = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    for piece in numbers.split(_PIECE):  # a copy: torch cannot resize what NumPy has seen
        total = crc32(piece.to("cpu", copy=True).view(torch.uint8).numpy(), total)
    return total


def _form(tensor: Tensor) -> str:
    return f"{shape_text(tensor)} {str(tensor.dtype).removeprefix('torch.')}"


def _is_plain(tensor: Tensor) -> bool:
    odd = tensor.is_nested or tensor.is_quantized or tensor.is_meta or hasattr(tensor, "to_local")
    return tensor.layout == torch.strided and not odd

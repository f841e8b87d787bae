"""Tensors that are in several parts: one part in this process, or all of them in files.

A tensor is cut along one dimension, as ``torch.chunk`` and FSDP2 cut it: parts are of one size,
but for the last ones, which may be smaller or empty.
"""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from lehr.base.sharing import own_part


def extent(size: int, part: int, parts: int) -> slice:
    """Which part of a dimension of this size the process of this number has.

    Example:
        >>> [extent(5, part, 4) for part in range(4)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None), slice(5, 5, None)]
    """
    each = -(-size // parts)
    return slice(min(part * each, size), min((part + 1) * each, size))


@final
class Shard:
    """The part of a tensor that this process has, in memory.

    Args:
        local: the part.
        shape: of the whole tensor.
        dim: along which it is cut.
        part: number of the part, from 0.
        parts: how many there are.

    Raises:
        ValueError: it is not as large as `extent` says.

    Example:
        >>> shard = Shard(torch.zeros(2, 3), (5, 3), 0, part=1, parts=4)
        >>> shard.nbytes
        24
    """

    def __init__(
        self, local: Tensor, shape: tuple[int, ...], dim: int, *, part: int, parts: int
    ) -> None:
        span = extent(shape[dim], part, parts)
        expected = (*shape[:dim], span.stop - span.start, *shape[dim + 1 :])
        if tuple(local.shape) != expected:
            raise ValueError(f"the part has the shape {tuple(local.shape)}, and not {expected}.")
        self.local, self.shape, self.dim = local, shape, dim
        self.part, self.parts = part, parts

    @property
    def nbytes(self) -> int:
        """Bytes of the part."""
        return self.local.nbytes

    def __repr__(self) -> str:
        return f"part {self.part + 1} of {self.parts} of a tensor of {self.shape}"


@final
class Pieces:
    """A tensor in files, of which any part can be read alone.

    Args:
        view: ``number of a part -> the part``, a view of its file.
        shape: of the whole tensor.
        dtype: of its values.
        dim: along which it is cut; None if it is in one part.
        parts: how many there are.

    Example:
        >>> whole = torch.arange(6.0).reshape(3, 2)
        >>> pieces = Pieces([whole[:2], whole[2:]].__getitem__, (3, 2), whole.dtype, 0, 2)
        >>> pieces.rows(0, 1, 3)
        tensor([[2., 3.],
                [4., 5.]])
        >>> pieces.read().equal(whole)
        True
    """

    def __init__(
        self,
        view: Callable[[int], Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        dim: int | None = None,
        parts: int = 1,
    ) -> None:
        self.view, self.shape, self.dtype = view, shape, dtype
        self.dim, self.parts = dim, parts
        self.beside: Any = None

    def like(self, now: Any) -> "Pieces":
        """These, to be read as a DTensor that is cut as another one is, which is there now."""
        made = Pieces(self.view, self.shape, self.dtype, self.dim, self.parts)
        made.beside = now
        return made

    def rows(self, dim: int, start: int, stop: int) -> Tensor:
        """What lies between two places of a dimension; no more than that is read."""
        if self.dim is None:
            return self.view(0).narrow(dim, start, stop - start).clone()
        shape = (*self.shape[:dim], stop - start, *self.shape[dim + 1 :])
        rows = torch.empty(shape, dtype=self.dtype)
        for part in range(self.parts):
            span = extent(self.shape[self.dim], part, self.parts)
            first, last = span.start, span.stop
            if self.dim == dim:
                first, last = max(start, first), min(stop, last)
            if first >= last:
                continue
            there = self.view(part).narrow(self.dim, first - span.start, last - first)
            if self.dim == dim:
                rows.narrow(dim, first - start, last - first).copy_(there)
            else:
                rows.narrow(self.dim, first, last - first).copy_(
                    there.narrow(dim, start, stop - start)
                )
        return rows

    def read(self) -> Tensor:
        """All of it, in memory of its own; what this process has of it, if it is to be `like`."""
        if self.beside is not None:
            return self._distributed(self.beside)
        return self._whole()

    def read_into(self, tensor: Any) -> None:
        """Copy its values into a tensor of its shape; into one in shards, those of the own part."""
        with torch.no_grad():
            own_part(tensor.detach()).copy_(own_part(self.like(tensor).read()))

    def _whole(self) -> Tensor:
        if self.dim is None:
            return self.view(0).clone()
        return self.rows(self.dim, 0, self.shape[self.dim])

    def _distributed(self, now: Any) -> Tensor:
        placements = getattr(now, "placements", None)
        if placements is None:
            return self._whole()
        from torch.distributed.tensor import DTensor, distribute_tensor

        mesh: Any = now.device_mesh
        first: Any = placements[0]
        if len(placements) > 1 or not first.is_shard():
            whole = self._whole().to(now.device)
            return distribute_tensor(whole, mesh, placements, src_data_rank=None)
        dim: int = first.dim
        span = extent(self.shape[dim], mesh.get_local_rank(), mesh.size())
        local = self.rows(dim, span.start, span.stop).to(now.device)
        return DTensor.from_local(
            local, mesh, placements, run_check=False, shape=now.shape, stride=now.stride()
        )

    def __repr__(self) -> str:
        return f"{self.parts} pieces of a tensor of {self.shape}"

"""The files of a checkpoint that several processes write: each its own shards of the tensors.

Process 1 of 2 writes ``model-00001-of-00002.safetensors``, with its parts of the model's tensors
under the model's own names, and ``state-00001-of-00002.safetensors``, with those of all others. The
first process writes what is not sharded into its files, and ``shards.json``, which says of each
sharded tensor how large it is and along which dimension it is cut; `lehr.state.pieces.extent` says
where. The places are also noted in each file in the way of torch's ``HuggingFaceStorageWriter``, so
that ``torch.distributed.checkpoint`` reads the same files.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base import strict_json
from lehr.state.disk.plain import DTYPES
from lehr.state.disk.tensor_file import Mapped, Part, encode
from lehr.state.pieces import Pieces, Shard, extent
from lehr.types import is_mapping, is_sequence

INDEX = "shards.json"
"""Says of each sharded tensor how it is cut."""

_KINDS = ("model", "state")
_OWN = "model."  # what comes before the names of the model's own tensors among all
_PLACES = "DCP_SHARDING_INFO"  # torch's word for the note in a file
_DTYPES = frozenset(DTYPES.values())


def can_hold(dtype: torch.dtype) -> bool:
    """Whether a file has a name for this dtype, so that a tensor of it can be in parts.

    Example:
        >>> can_hold(torch.bfloat16), can_hold(torch.complex128)
        (True, False)
    """
    return dtype in _DTYPES


def file_names(parts: int) -> list[str]:
    """The names of the files with tensors that so many processes write.

    Example:
        >>> file_names(1)
        ['model-00001-of-00001.safetensors', 'state-00001-of-00001.safetensors']
    """
    return [_name(kind, part, parts) for part in range(parts) for kind in _KINDS]


def _name(kind: str, part: int, parts: int) -> str:
    return f"{kind}-{part + 1:05d}-of-{parts:05d}.safetensors"


def index(tensors: Mapping[str, Any]) -> bytes:
    """The content of ``shards.json``.

    Example:
        >>> shard = Shard(torch.zeros(2, 3), (4, 3), 0, part=0, parts=2)
        >>> index({"model.weight": shard, "model.count": torch.tensor(3)})
        b'{"model.weight":{"shape":[4,3],"dim":0}}'
    """
    shards = {name: x for name, x in tensors.items() if isinstance(x, Shard)}
    return strict_json.dump({n: {"shape": list(x.shape), "dim": x.dim} for n, x in shards.items()})


def contents(
    tensors: Mapping[str, Any], own: Sequence[str], part: int, parts: int
) -> dict[str, list[Part]]:
    """What a process writes into its two files.

    Args:
        tensors: by name, as `lehr.state.disk.plain.flatten` returns them; those that are not
            sharded are left to the first process.
        own: the names of the model's own tensors, within the model.
        part: number of the process.
        parts: how many there are.

    Example:
        >>> shard = Shard(torch.zeros(2, 3), (4, 3), 0, part=1, parts=2)
        >>> [*contents({"model.weight": shard}, ["weight"], 1, 2)]
        ['model-00002-of-00002.safetensors', 'state-00002-of-00002.safetensors']
    """
    prefixed = {f"{_OWN}{name}" for name in own}
    return {
        _name(kind, part, parts): _content(
            {
                name.removeprefix(_OWN) if kind == "model" else name: value
                for name, value in tensors.items()
                if (name in prefixed) == (kind == "model")
            },
            first=part == 0,
        )
        for kind in _KINDS
    }


def _content(tensors: Mapping[str, Any], *, first: bool) -> list[Part]:
    here: dict[str, Tensor] = {}
    places: dict[str, Any] = {}
    for name, value in tensors.items():
        if isinstance(value, Shard):
            if not value.local.numel():
                continue
            here[name] = value.local.detach().cpu().contiguous()
            start = extent(value.shape[value.dim], value.part, value.parts).start
            at = [start if dim == value.dim else 0 for dim in range(len(value.shape))]
        elif first:
            here[name], at = value, [0] * value.dim()
        else:
            continue
        places[name] = {"saved_offsets": at}
    return encode(here, {_PLACES: strict_json.dump(places).decode()})


class PartedTensors:
    """The tensors of such a checkpoint, of which any part can be read alone.

    Args:
        folder: of the checkpoint.
        text: what ``shards.json`` holds.
        parts: how many processes wrote it.

    Raises:
        ValueError: that is no such text.
    """

    def __init__(self, folder: Path, text: bytes | bytearray, parts: int) -> None:
        self.folder, self.parts = folder, parts
        self._files: dict[str, Mapped] = {}
        said = strict_json.parse(text)
        if not is_mapping(said):
            raise ValueError("it is no JSON object")
        self._cuts = {name: _cut(name, entry) for name, entry in said.items()}

    def check(self, name: str) -> None:
        """See that a file has the parts that it should have.

        Raises:
            ValueError: it has others, or is no file of tensors.
        """
        kind, part = name[:5], int(name[6:11]) - 1
        places = self._file(name).places
        expected = {
            own: [*shape[:dim], span.stop - span.start, *shape[dim + 1 :]]
            for own, (shape, dim) in self._of(kind).items()
            if (span := extent(shape[dim], part, self.parts)).stop > span.start
        }
        first = self._file(_name(kind, 0, self.parts)).places
        for own, shape in expected.items():
            there = places.get(own)
            if there is None or own not in first:
                raise ValueError(f"its tensor {own[:80]!r} is missing")
            if there.shape != shape or there.dtype != first[own].dtype:
                raise ValueError(
                    f"its tensor {own[:80]!r} is {there.dtype} of {there.shape}; it should be "
                    f"{first[own].dtype} of {shape}"
                )
        if part and (foreign := sorted(places.keys() - expected.keys())):
            raise ValueError(f"its tensor {foreign[0][:80]!r} belongs to no part")

    def _of(self, kind: str) -> dict[str, tuple[list[int], int]]:
        """How the tensors in files of this kind are cut, by their names there."""
        cuts = self._cuts.items()
        if kind == "model":
            own = self._own_names()
            return {n.removeprefix(_OWN): cut for n, cut in cuts if n.removeprefix(_OWN) in own}
        own = {f"{_OWN}{name}" for name in self._own_names()}
        return {name: cut for name, cut in cuts if name not in own}

    def _own_names(self) -> set[str]:
        """The names in the first process's file of the model; a first part is never empty."""
        return set(self._file(_name("model", 0, self.parts)).places)

    def _file(self, name: str) -> Mapped:
        if name not in self._files:
            self._files[name] = Mapped(self.folder / name)
        return self._files[name]

    def weights(self) -> dict[str, Tensor | Pieces]:
        """The model's own tensors, under their names within the model."""
        return self._tensors("model", self._of("model"))

    def all(self) -> dict[str, Tensor | Pieces]:
        """All tensors, under the names that they have in the structure."""
        own = {f"{_OWN}{name}": value for name, value in self.weights().items()}
        others = self._tensors("state", self._of("state"))
        if twins := sorted(own.keys() & others.keys()):
            raise ValueError(f"its files both hold {twins[0][:80]!r}")
        return {**others, **own}

    def _tensors(
        self, kind: str, cuts: Mapping[str, tuple[list[int], int]]
    ) -> dict[str, Tensor | Pieces]:
        first = self._file(_name(kind, 0, self.parts))
        whole = {name: first.view(name).clone() for name in first.places if name not in cuts}
        return {**whole, **{name: self._pieces(kind, name, cut) for name, cut in cuts.items()}}

    def _pieces(self, kind: str, name: str, cut: tuple[list[int], int]) -> Tensor | Pieces:
        shape, dim = cut
        there = self._file(_name(kind, 0, self.parts)).places.get(name)
        if there is None:  # the first part is empty, so all are
            raise ValueError(f"its tensor {name[:80]!r} is missing")
        view = partial(self._view, kind, name)
        return Pieces(view, tuple(shape), there.dtype, dim, self.parts)

    def _view(self, kind: str, name: str, part: int) -> Tensor:
        return self._file(_name(kind, part, self.parts)).view(name)


def _cut(name: str, entry: Any) -> tuple[list[int], int]:
    shape, dim = (entry.get("shape"), entry.get("dim")) if is_mapping(entry) else (None, None)
    sizes = cast("list[Any]", shape if is_sequence(shape) else [])
    if (
        type(dim) is not int
        or not 0 <= dim < len(sizes) <= 64
        or any(type(n) is not int or not 0 < n < 2**63 for n in sizes)
    ):
        raise ValueError(f"it says of {name[:80]!r} {str(entry)[:120]}, which is no cut")
    return list(sizes), dim

"""Weights alone: a model's tensors in a file for any tool, and the files of other tools read."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.base import files
from lehr.base.paths import path_of
from lehr.base.sharing import own_part
from lehr.engine import ALONE, Engine
from lehr.errors import nearest
from lehr.state.differences import first_difference
from lehr.state.disk import tensor_file
from lehr.state.disk.plain import DTYPES
from lehr.state.disk.weight_files import read_weights
from lehr.state.entries import ModelState
from lehr.state.pieces import Pieces
from lehr.state.snapshot import restore

SUFFIX = ".safetensors"
_SHOWN = 5
_DTYPES = frozenset(DTYPES.values())


@dataclass(frozen=True, repr=False)
class Differences:
    """How the tensors of a file differ from those of a model; false if they do not.

    Printed, it is a readable list, with the nearest names.

    Attributes:
        missing: names of the model that the file does not have.
        unexpected: names in the file that the model does not have.
        unlike: by name, what cannot be copied: the shape and dtype in the file and in the model.

    Example:
        >>> Differences(missing=("fc.weight",), unexpected=("fc.weigth",))
        missing in the file (1): fc.weight
        not in the model (1): fc.weigth (fc.weight?)
        >>> Differences()
        no differences
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    unlike: tuple[tuple[str, str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.unlike)

    def __repr__(self) -> str:
        groups = {
            "missing in the file": self.missing,
            "not in the model": [self._guessed(name) for name in self.unexpected[:_SHOWN]]
            + list(self.unexpected[_SHOWN:]),
            "that do not fit": [
                f"{name} is {theirs} in the file and {ours} in the model"
                for name, theirs, ours in self.unlike
            ],
        }
        lines = [
            f"{what} ({len(items)}): {_short(items)}" for what, items in groups.items() if items
        ]
        return "\n".join(lines) or "no differences"

    def _guessed(self, name: str) -> str:
        guess = nearest(name, self.missing)
        return f"{name} ({guess}?)" if guess else name


def _short(items: Iterable[str]) -> str:
    items = list(items)
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return ", ".join(items[:_SHOWN] + more)


def save_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    engine: Engine = ALONE,
    *,
    follow: bool = False,  # a link, as a path of the user's; under a name of ours it is replaced
) -> None:
    """Write the weights of any module to a safetensors file. See `lehr.Learner.save`."""
    path = _checked_target(path)
    own = engine.whole(ModelState(model).state_dict())
    if engine.rank:
        return
    tensors = {name: _writable(name, x) for name, x in own.items() if not name.startswith("#")}
    write = files.save_in_parts if follow else files.replace_in_parts
    write(path, tensor_file.encode(tensors))


def join_weights(checkpoint: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write the weights of a checkpoint to one safetensors file. See `lehr.export.weights`."""
    path = _checked_target(path)
    tensors = read_weights(_checked_path(checkpoint), in_parts=True)
    own = {n: x if isinstance(x, Pieces) else _writable(n, x) for n, x in tensors.items()}
    files.save_in_parts(path, tensor_file.stream(own))


def _checked_target(path: Any) -> Path:
    path = _checked_path(path)
    if path.suffix != SUFFIX:
        better = path.with_suffix(SUFFIX) if path.name else f"weights{SUFFIX}"
        raise ValueError(
            f"path must end in {SUFFIX}, the format that is written; got {str(path)!r}. "
            f"Write e.g. {str(better)!r}."
        )
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: there is no folder {path.parent}. Make it first."
        )
    return path


def _checked_path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"path must be the path of a file; got {path!r}. Write e.g. 'weights{SUFFIX}'."
        )
    return path_of(cast("str | os.PathLike[str]", path))


def _writable(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        what, todo = type(value).__name__, "Save a Checkpoint, which holds more"
    elif is_lazy(value):
        what, todo = "a parameter without a shape yet", "Predict one batch first"
    elif value.device.type == "meta":
        what, todo = "a tensor without values (on the meta device)", "Give it values first"
    elif value.layout is not torch.strided or value.is_quantized or value.dtype not in _DTYPES:
        kind = value.dtype if value.layout is torch.strided else value.layout
        what, todo = f"a tensor of {kind}", "Convert it first"
    else:
        return value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    raise TypeError(
        f"the weights cannot be saved: {name} is {what}; a {SUFFIX} file holds dense tensors with "
        f"values. {todo}."
    )


def load_weights(
    model: nn.Module, path: str | os.PathLike[str], engine: Engine = ALONE, *, strict: bool = True
) -> Differences:
    """Copy weights from a file into any module, in place. See `lehr.Learner.load`."""
    path = _checked_path(path)
    state = ModelState(model)
    own = state.state_dict()
    _check_memory(own)
    shared_out = any(own_part(x) is not x for x in own.values() if isinstance(x, Tensor))
    weights = _plain_names(read_weights(path, engine, in_parts=shared_out), own)
    differences = _differences(weights, own)
    if strict and differences:
        raise ValueError(
            f"the weights in {path} do not fit the model; nothing was changed.\n{differences}\n"
            "Give strict=False to load what fits."
        )
    apart = {*differences.unexpected, *(name for name, _, _ in differences.unlike)}
    fitting = {name: value for name, value in weights.items() if name not in apart}
    entry, loaded = {"model": state}, {"model": {**own, **fitting, **_by_ties(fitting, own)}}
    restore(entry, engine.parts(entry, loaded))
    return differences


def differences(entry: ModelState, saved: Mapping[str, Any]) -> Differences:
    """How a saved state of a model differs from the model itself, in names, shapes and dtypes.

    What the model keeps out of its own ``state_dict``, what is no tensor and what has no shape yet
    are not compared.

    Example:
        >>> saved = ModelState(nn.Linear(2, 3)).state_dict()
        >>> differences(ModelState(nn.Linear(2, 4, bias=False)), saved)
        not in the model (1): bias
        that do not fit (1): weight is (3, 2) float32 in the file and (4, 2) float32 in the model
    """
    states = saved, entry.state_dict()
    apart = {n for one in states for n, x in one.items() if n.startswith("#") or not _has_shape(x)}
    theirs, own = ({n: x for n, x in one.items() if n not in apart} for one in states)
    return _differences(theirs, own)


def _has_shape(value: Any) -> bool:
    return isinstance(value, Tensor) and not is_lazy(value)


def _check_memory(own: Mapping[str, Any]) -> None:
    for name, value in own.items():
        if is_lazy(value):
            raise ValueError(f"{name} of the model has no shape yet. Predict one batch first.")
        if isinstance(value, Tensor) and value.device.type == "meta":
            raise ValueError(
                f"{name} of the model is on the meta device, which keeps no values. Call "
                'model.to_empty(device="cpu") first.'
            )


def _plain_names(weights: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``weights`` without the prefixes that wrappers make."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        same = all(name.startswith(prefix) for name in own)  # the model's own part of that name
        if not same and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _by_ties(weights: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What ``weights`` lacks, but has under another name that the model ties to it."""
    places = {_place(own[name]): value for name, value in weights.items() if name in own}
    absent = {name: _place(own[name]) for name in own if name not in weights}
    return {name: places[place] for name, place in absent.items() if place in places}


def _place(value: Any) -> Any:
    """Where in memory a tensor is; of a value that has no place, what it is."""
    if not isinstance(value, Tensor) or not value.numel():
        return id(value)
    own = own_part(value)
    return value.device, own.data_ptr(), value.shape, value.stride(), value.dtype


def _differences(weights: Mapping[str, Any], own: Mapping[str, Any]) -> Differences:
    ties = _by_ties(weights, own)
    missing = [name for name in own if name not in weights and name not in ties]
    unlike: list[tuple[str, str, str]] = []
    at: dict[Any, str] = {}
    for name in (name for name in own if name in weights):
        new, old = weights[name], own[name]
        twin = at.setdefault(_place(old), name)
        if not _fits(new, old):
            unlike.append((name, _described(new), _described(old)))
        elif twin != name and first_difference(_read(new), _read(weights[twin])):
            unlike.append((name, f"not equal to {twin}", "tied to it"))
    return Differences(
        missing=tuple(name for name in missing if not name.startswith("#")),
        unexpected=tuple(name for name in weights if name not in own),
        unlike=tuple(unlike),
    )


def _read(value: Any) -> Any:
    return value.read() if isinstance(value, Pieces) else value


def _fits(new: Any, old: Any) -> bool:
    if not isinstance(new, (Tensor, Pieces)) or not isinstance(old, Tensor):
        return type(new) is type(old)
    return tuple(new.shape) == tuple(old.shape) and torch.can_cast(new.dtype, old.dtype)


def _described(value: Any) -> str:
    if not isinstance(value, (Tensor, Pieces)):
        return type(value).__name__
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"

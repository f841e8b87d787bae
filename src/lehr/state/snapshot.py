"""Named state entries: everything that can change, captured, compared and put back by name.

An *entry* is any object with ``state_dict`` and ``load_state_dict``. A *snapshot* maps entry names
to their states as plain containers of tensors, numbers and strings, independent of the live
objects; so it can be held in memory, compared, or written to disk without pickle. What else is in a
state (a set, a dtype, an object) is copied with ``copy.deepcopy``; not all of that can be written.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from torch import Tensor
from torch.nn.parameter import is_lazy

from lehr.errors import add_note, one_line
from lehr.state.optimizer import is_optimizer, load_in_place
from lehr.state.pieces import Pieces
from lehr.types import PLAIN, Stateful, holds_only_plain, is_mapping, is_sequence

Entries = Mapping[str, Stateful]
Snapshot = dict[str, Any]


def capture(entries: Entries) -> Snapshot:
    """The state of every entry, copied so that nothing of it is shared with the live objects.

    Raises:
        TypeError: something in a state is of no known kind, and ``copy.deepcopy`` cannot copy it.

    Example:
        >>> import torch
        >>> from lehr.state.differences import first_difference
        >>> layer = torch.nn.Linear(1, 1)
        >>> snapshot = capture({"model": layer})
        >>> with torch.no_grad():
        ...     _ = layer.bias.add_(1)
        >>> first_difference(snapshot, capture({"model": layer}))
        'model.bias: 1 of 1 values differ, by up to 1'
    """
    return {name: _copied(_state(name, entry), name) for name, entry in entries.items()}


def look(entries: Entries) -> Snapshot:
    """What `capture` returns, with the live tensors themselves: to be read before anything changes.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(1, 1)
        >>> look({"model": layer})["model"]["bias"].data_ptr() == layer.bias.data_ptr()
        True
    """
    return {
        name: _copied(_state(name, entry), name, tensor=_detached)
        for name, entry in entries.items()
    }


def _state(name: str, entry: Stateful) -> Any:
    try:
        return entry.state_dict()
    except Exception as error:
        add_note(error, f"That was in the state of {name}.")
        raise


def in_pieces(value: Any) -> bool:
    """Whether some of a snapshot is still in files, to be read when it is loaded.

    Example:
        >>> in_pieces({"model": {"bias": [1.0]}})
        False
    """
    if isinstance(value, Pieces):
        return True
    if is_mapping(value):
        return any(map(in_pieces, value.values()))
    return is_sequence(value) and not holds_only_plain(value) and any(map(in_pieces, value))


def restore(entries: Entries, snapshot: Snapshot, todo: str = "", *, keeps: bool = True) -> None:
    """Put every entry back to what `capture` saw, or none of them.

    What an entry was is captured first: if one cannot be loaded, all are put back to that. An
    optimizer keeps its groups, and the tensors in them, for other code may hold an ``lr``.
    Its state has the dtypes that were saved, also where torch would cast them to the parameter's.

    Tensors in `lehr.state.pieces.Pieces` are read one after the other when they are loaded; those
    of a model go to their places at once, so that there is no other copy of it.

    Args:
        entries: by name.
        snapshot: their states.
        todo: what to do if the names are not the same: sentences for the end of the error.
        keeps: whether what they were is captured. Without, they take no memory twice; but if one
            cannot be loaded, it and those before it are no longer what they were.

    Raises:
        KeyError: an entry is missing from the snapshot, or the snapshot holds one more; nothing is
            changed then.
        Exception: whatever an entry raised; a note says which, and what became of the others.
    """
    _check_names(entries, snapshot, todo)
    before = _as_they_are(entries) if keeps else {}
    name = ""
    try:
        for name, entry in entries.items():
            in_place = getattr(entry, "reads_pieces", False)
            _load(entry, _copied(snapshot[name], name, pieces=_same if in_place else Pieces.read))
    except BaseException as error:
        lost = ", ".join(_put_back(entries, before))
        add_note(
            error,
            f"state entry {name!r} could not be loaded; "
            f"all entries are as they were before{lost and f', except {lost}'}.",
        )
        raise


def _check_names(entries: Entries, snapshot: Snapshot, todo: str) -> None:
    absent = {
        "the snapshot": sorted(entries.keys() - snapshot.keys()),
        "these objects": sorted(snapshot.keys() - entries.keys()),
    }
    problems = [
        f"state {'entry' if len(names) == 1 else 'entries'} {', '.join(map(repr, names))} "
        f"{'is' if len(names) == 1 else 'are'} missing from {where}"
        for where, names in absent.items()
        if names
    ]
    if problems:
        raise KeyError(f"{' and '.join(problems)}; nothing was restored. {todo}".strip())


def _as_they_are(entries: Entries) -> Snapshot:
    """What can be captured of the entries: a probe may have left anything in them."""
    states: Snapshot = {}
    for name, entry in entries.items():
        with suppress(Exception):
            states |= capture({name: entry})
    return states


def _put_back(entries: Entries, before: Snapshot) -> list[str]:
    """Load what was; the names of those that could not be."""
    lost = [name for name in entries if name not in before]
    for name, state in before.items():
        try:
            _load(entries[name], state)
        except BaseException:
            lost.append(name)
    return lost


def _load(entry: Stateful, saved: Snapshot) -> None:
    if is_optimizer(entry):
        load_in_place(cast("Any", entry), saved)
    else:
        entry.load_state_dict(saved)


def independent(tensor: Tensor) -> Tensor:
    """A copy of a tensor without its graph; of one that is lazy, another that is.

    Example:
        >>> import torch
        >>> independent(torch.ones(1, requires_grad=True) * 2)
        tensor([2.])
    """
    if is_lazy(tensor):
        kind: Any = type(tensor)
        return kind(requires_grad=tensor.requires_grad, device=tensor.device, dtype=tensor.dtype)
    return tensor.detach().clone()


def _same(pieces: Pieces) -> Pieces:
    return pieces


def _detached(tensor: Tensor) -> Tensor:
    return tensor if is_lazy(tensor) else tensor.detach()


# Not by `lehr.base.nested`: in a snapshot containers are plain ones, and an object of a dataclass
# or a packed sequence, which a batch would be taken apart into, is one thing.
def _copied(
    value: Any,
    path: str,
    tensor: Callable[[Tensor], Tensor] = independent,
    pieces: Callable[[Pieces], Any] = Pieces.read,
) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        return tensor(value)
    if isinstance(value, Pieces):
        return pieces(value)
    if is_mapping(value):
        return {
            key: inner if type(inner) in PLAIN else _copied(inner, f"{path}.{key}", tensor, pieces)
            for key, inner in value.items()
        }
    if is_sequence(value):
        if holds_only_plain(value):
            return tuple(value) if isinstance(value, tuple) else list(value)
        copies = [_copied(inner, f"{path}[{i}]", tensor, pieces) for i, inner in enumerate(value)]
        return tuple(copies) if isinstance(value, tuple) else copies
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    try:
        return copy.deepcopy(value)
    except Exception as error:
        raise TypeError(
            f"state entry {path} is {type(value).__name__}, which copy.deepcopy cannot copy: "
            f"{one_line(error)}. A state holds tensors, numbers, strings, None, lists, tuples or "
            "dicts of them, and what can be copied. Convert it in state_dict."
        ) from error

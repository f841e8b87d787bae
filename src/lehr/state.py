"""Named state entries: everything that can change, captured, compared and put back by name.

An *entry* is any object with ``state_dict`` and ``load_state_dict``. A *snapshot* maps entry names
to their states as plain containers of tensors, numbers and strings, independent of the live
objects; so it can be held in memory, compared, or written to disk without pickle.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lehr import streams
from lehr.types import Stateful, is_mapping, is_sequence
from lehr.wrappers import bare, bare_names

Entries = Mapping[str, Stateful]
Snapshot = dict[str, Any]


def capture(entries: Entries) -> Snapshot:
    """The state of every entry, copied so that nothing of it is shared with the live objects.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> snapshot = capture({"model": layer})
        >>> with torch.no_grad():
        ...     _ = layer.bias.add_(1)
        >>> first_difference(snapshot, capture({"model": layer}))
        'model.bias: 1 of 1 values differ, by up to 1'
    """
    return {name: _copied(entry.state_dict(), name) for name, entry in entries.items()}


def restore(entries: Entries, snapshot: Snapshot) -> None:
    """Put every entry back to what `capture` saw, or none of them.

    What an entry was is captured first: if one cannot be loaded, all are put back to that. An
    optimizer keeps its groups, and the tensors in them: whoever else holds an ``lr`` still does.
    Its state has the dtypes that were saved, also where torch would cast them to the parameter's.

    Raises:
        KeyError: an entry is missing from the snapshot, or the snapshot holds one more; nothing is
            changed then.
        Exception: whatever an entry raised; a note says which, and what became of the others.
    """
    _check_names(entries, snapshot)
    before = _as_they_are(entries)
    name = ""
    try:
        for name, entry in entries.items():
            _load(entry, _copied(snapshot[name], name))
    except BaseException as error:
        lost = ", ".join(_put_back(entries, before))
        error.add_note(
            f"state entry {name!r} could not be loaded; "
            f"all entries are as they were before{lost and f', except {lost}'}."
        )
        raise


def _check_names(entries: Entries, snapshot: Snapshot) -> None:
    absent = {
        "the snapshot": sorted(entries.keys() - snapshot.keys()),
        "these objects": sorted(snapshot.keys() - entries.keys()),
    }
    told = [
        f"state {'entry' if len(names) == 1 else 'entries'} {', '.join(map(repr, names))} "
        f"{'is' if len(names) == 1 else 'are'} missing from {where}"
        for where, names in absent.items()
        if names
    ]
    if told:
        raise KeyError(f"{' and '.join(told)}; nothing was restored.")


def _as_they_are(entries: Entries) -> Snapshot:
    """What can be captured of the entries: a probe may have left anything in them."""
    found: Snapshot = {}
    for name, entry in entries.items():
        with suppress(Exception):
            found |= capture({name: entry})
    return found


def _put_back(entries: Entries, before: Snapshot) -> list[str]:
    """Load what was; the names of those that could not be."""
    lost = [name for name in entries if name not in before]
    for name, state in before.items():
        try:
            _load(entries[name], state)
        except Exception:
            lost.append(name)
    return lost


def _load(entry: Stateful, saved: Snapshot) -> None:
    if isinstance(entry, Optimizer):
        _load_in_place(entry, saved)
    else:
        entry.load_state_dict(saved)


def first_difference(a: Any, b: Any, path: str = "") -> str | None:
    """Where two snapshots first differ, bit for bit, and how; None if they are identical.

    Example:
        >>> first_difference({"lr": 0.1}, {"lr": 0.2})
        'lr: 0.1 against 0.2'
        >>> first_difference([float("nan")], [float("nan")]) is None
        True
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensor_difference(a, b, path)
    if is_mapping(a) and is_mapping(b):
        for key in [*a, *(key for key in b if key not in a)]:
            inner = f"{path}.{key}".lstrip(".")
            if key not in a or key not in b:
                return f"{inner}: only in the {'first' if key in a else 'second'}"
            if found := first_difference(a[key], b[key], inner):
                return found
        return None
    if is_sequence(a) and is_sequence(b):
        if len(a) != len(b):
            return f"{path}: {len(a)} items against {len(b)}"
        pairs = zip(a, b, strict=True)
        found = (first_difference(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(pairs))
        return next((difference for difference in found if difference), None)
    same = type(a) is type(b) and (a == b or (a != a and b != b))  # nan equals nan here
    return None if same else f"{path}: {a!r} against {b!r}"


def _tensor_difference(a: Tensor, b: Tensor, path: str) -> str | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{path}: {_shape(a)} against {_shape(b)}"
    x, y = (t.detach().cpu().contiguous().reshape(-1, 1) for t in (a, b))
    apart = (x.view(torch.uint8) != y.view(torch.uint8)).any(1)
    if not apart.any():
        return None
    exact = torch.complex128 if x.is_complex() else torch.float64
    wide = exact if x.is_floating_point() or x.is_complex() else torch.int64
    largest = (x.to(wide) - y.to(wide))[apart].abs().max().item()
    size = f"by up to {largest:g}" if largest else "in their bits alone"
    return f"{path}: {int(apart.sum())} of {len(x)} values differ, {size}"


def _shape(t: Tensor) -> str:
    return f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}"


def _copied(value: Any, path: str) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if is_mapping(value):
        return {key: _copied(inner, f"{path}.{key}") for key, inner in value.items()}
    if is_sequence(value):
        copies = [_copied(inner, f"{path}[{i}]") for i, inner in enumerate(value)]
        return tuple(copies) if isinstance(value, tuple) else copies
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"state entry {path} is {type(value).__name__}; a state holds tensors, numbers, strings, "
        "None, and lists, tuples or dicts of them. Convert it in state_dict."
    )


def _load_in_place(opt: Optimizer, saved: Snapshot) -> None:
    groups = list(opt.param_groups)
    opt.load_state_dict(saved)  # which makes new groups, with new tensors
    _undo_casts(opt.state_dict(), saved)
    written: set[int] = set()
    for group, loaded in zip(groups, list(opt.param_groups), strict=True):
        values = {key: _into(group.get(key), value, written) for key, value in loaded.items()}
        if group is not loaded:
            group.clear()
            group.update(values)
    opt.param_groups[:] = groups


def _undo_casts(loaded: Any, saved: Any) -> Any:
    """``loaded`` in the dtypes of ``saved``, and on its own devices; containers stay the same."""
    if is_mapping(loaded) and is_mapping(saved):
        for key in loaded.keys() & saved.keys():
            if (value := _undo_casts(loaded[key], saved[key])) is not loaded[key]:
                cast("dict[str, Any]", loaded)[key] = value
        return loaded
    if is_sequence(loaded) and is_sequence(saved) and len(loaded) == len(saved):
        values = [_undo_casts(a, b) for a, b in zip(loaded, saved, strict=True)]
        if isinstance(loaded, tuple):
            return tuple(values)
        loaded[:] = values
        return loaded
    if isinstance(loaded, Tensor) and isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    return saved if isinstance(saved, str) else loaded  # torch loads a generator's repr for it


def _into(old: Any, new: Any, written: set[int]) -> Any:
    """``new``, in the tensors of ``old`` where they fit."""
    if old is new:
        return new
    if is_sequence(new) and is_sequence(old) and isinstance(new, tuple) and len(old) == len(new):
        return tuple(_into(a, b, written) for a, b in zip(old, new, strict=True))
    if not isinstance(new, Tensor) or not isinstance(old, Tensor):
        return new
    if old.shape != new.shape or old.dtype != new.dtype:
        return new
    if id(old) in written:  # shared: one tensor cannot hold two values
        return old if first_difference(old, new) is None else new
    with torch.no_grad():
        old.copy_(new)
    written.add(id(old))
    return old


class ModelState:
    """Parameters and buffers of a model under the keys of the bare model, whatever wraps it.

    Wrappers of its parts are seen through as well. Buffers that the model keeps out of its own
    ``state_dict`` are part of it too.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = bare(model)

    def state_dict(self) -> dict[str, Any]:
        """The model's own ``state_dict`` and, under ``#name``, its non-persistent buffers."""
        name_of, state = bare_names(self.model), self.model.state_dict()
        own = {name_of(path): value for path, value in state.items()}
        buffers = [(path, b) for path, b in self.model.named_buffers() if path not in state]
        return {**own, **{f"#{name_of(path)}": b for path, b in buffers}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the values in place; the parameters stay the same objects."""
        name_of = bare_names(self.model)
        paths = {name_of(path): path for path in self.model.state_dict()}
        own = {paths.get(k, k): value for k, value in state_dict.items() if not k.startswith("#")}
        self.model.load_state_dict(own)
        with torch.no_grad():
            for path, buffer in list(self.model.named_buffers()):
                saved = state_dict.get(f"#{name_of(path)}")
                if saved is None:
                    continue
                if (saved.shape, saved.dtype) == (buffer.shape, buffer.dtype):
                    buffer.copy_(saved)
                else:  # a cache that has grown, say
                    owner, _, leaf = path.rpartition(".")
                    setattr(self.model.get_submodule(owner), leaf, saved.to(buffer.device))


def modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every sub-module with its name, the model itself first."""
    return list(cast("Iterator[tuple[str, nn.Module]]", model.named_modules()))


class ModeState:
    """Each sub-module's ``training`` flag and each parameter's ``requires_grad``."""

    def __init__(self, model: nn.Module) -> None:
        self.model = bare(model)

    def state_dict(self) -> dict[str, Any]:
        """Flags by module and parameter name."""
        name_of = bare_names(self.model)
        parameters = self.model.named_parameters()
        return {
            "training": {name_of(path): module.training for path, module in modules(self.model)},
            "requires_grad": {name_of(path): p.requires_grad for path, p in parameters},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set every flag on its own: ``model.train()`` would set them all alike.

        The wrapper of a part gets the flag of what it wraps.
        """
        name_of = bare_names(self.model)
        for path, module in modules(self.model):
            module.training = state_dict["training"][name_of(path)]
        for path, p in self.model.named_parameters():
            p.requires_grad_(state_dict["requires_grad"][name_of(path)])


class GradState:
    """The gradients that parameters hold at the moment."""

    def __init__(self, model: nn.Module) -> None:
        self.model = bare(model)

    def state_dict(self) -> dict[str, Any]:
        """Gradient or None by parameter name."""
        name_of = bare_names(self.model)
        return {name_of(path): p.grad for path, p in self.model.named_parameters()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Give every parameter its gradient back, on the device where the parameter is now."""
        name_of = bare_names(self.model)
        for path, p in self.model.named_parameters():
            saved = state_dict[name_of(path)]
            p.grad = None if saved is None else saved.to(p.device)


class RandomState:
    """The global random generators: torch's, each CUDA device's, NumPy's and Python's."""

    def state_dict(self) -> dict[str, Any]:
        """What `lehr.streams.rng_state` returns."""
        return streams.rng_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the generators back."""
        streams.set_rng_state(dict(state_dict))


class AttributeState:
    """Some attributes of an object, by name.

    Example:
        >>> from types import SimpleNamespace
        >>> AttributeState(SimpleNamespace(steps=3), ("steps",)).state_dict()
        {'steps': 3}
    """

    def __init__(self, owner: Any, names: tuple[str, ...]) -> None:
        self.owner, self.names = owner, names

    def state_dict(self) -> dict[str, Any]:
        """The values, without the underscore of a private name."""
        return {name.lstrip("_"): getattr(self.owner, name) for name in self.names}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set every attribute."""
        for name in self.names:
            setattr(self.owner, name, state_dict[name.lstrip("_")])


class GeneratorState:
    """One ``torch.Generator`` that belongs to somebody else, a foreign loader for example."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """The generator's bytes."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the generator back."""
        self.generator.set_state(state_dict["state"])


def loader_entries(name: str, loader: Any) -> dict[str, Stateful]:
    """The state entries of somebody else's loader: its own state, or the generators it draws from.

    In a fit, the batches of lehr's own loaders are a function of (seed, epoch, position); their
    state is only how often they were iterated by hand.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader([1, 2], generator=torch.Generator())
        >>> list(loader_entries("train_dl", loader))
        ['train_dl.generator']
    """
    if isinstance(loader, Stateful):
        return {name: loader}
    found: dict[str, Stateful] = {}
    for path in ("generator", "sampler.generator", "batch_sampler.sampler.generator"):
        part: Any = loader
        for attribute in path.split("."):
            part = getattr(part, attribute, None)
        known = [cast("GeneratorState", entry).generator for entry in found.values()]
        if isinstance(part, torch.Generator) and part not in known:
            found[f"{name}.{path}"] = GeneratorState(part)
    return found

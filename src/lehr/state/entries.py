"""The entries that every training has: what has no ``state_dict`` that says all of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.state import streams
from lehr.state.generators import generators_of
from lehr.state.pieces import Pieces
from lehr.state.wrappers import bare, bare_names
from lehr.types import Stateful, is_mapping, is_seekable, is_sequence


class ModelState:
    """Parameters and buffers of a model under the keys of the bare model, whatever wraps it.

    Wrappers of its parts are seen through as well. Buffers that the model keeps out of its own
    ``state_dict`` are part of it too.
    """

    reads_pieces = True
    """Whether tensors in `Pieces` may be among what is loaded: they are read into their places."""

    def __init__(self, model: nn.Module) -> None:
        self.model = bare(model)

    def state_dict(self) -> dict[str, Any]:
        """The model's own ``state_dict`` and, under ``#name``, its non-persistent buffers."""
        name_of, state = bare_names(self.model), self.model.state_dict()
        own = {name_of(path): value for path, value in state.items()}
        buffers = [(path, b) for path, b in self.model.named_buffers() if path not in state]
        return {**own, **{f"#{name_of(path)}": b for path, b in buffers}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the values in place; the parameters stay the same objects.

        Raises:
            ValueError: the values are of before a lazy module was made.
        """
        name_of, now = bare_names(self.model), self.model.state_dict()
        paths = {name_of(path): path for path in now}
        for name, saved in state_dict.items():
            if is_lazy(saved) and name in paths and not is_lazy(now[paths[name]]):
                raise ValueError(
                    f"{name} has no values in this state, which is of before the lazy module was "
                    "called first; it has in the model. Call the model on one batch before the fit."
                )
        buffers = {name_of(path): buffer for path, buffer in self.model.named_buffers()}
        state_dict = {
            name: _in_place(value, now[paths[name]] if name in paths else buffers.get(name[1:]))
            for name, value in state_dict.items()
        }
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


def _in_place(saved: Any, now: Any) -> Any:
    """What was saved; if it is in pieces, what is there now, into which they have been read."""
    if not isinstance(saved, Pieces):
        return saved
    if not isinstance(now, Tensor) or now.shape != saved.shape:
        return saved.read()
    saved.read_into(now)
    return now


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
            if p.requires_grad != (wanted := state_dict["requires_grad"][name_of(path)]):
                p.requires_grad = wanted


class GradState:
    """The gradients that parameters hold at the moment.

    Args:
        model: whose parameters.
        others: more of them, such as those that only an optimizer holds.
    """

    def __init__(self, model: nn.Module, others: Iterable[nn.Parameter] = ()) -> None:
        self.model = bare(model)
        self.others = list(others)

    def state_dict(self) -> dict[str, Any]:
        """Gradient or None by parameter name."""
        return {name: p.grad for name, p in self._named()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Give every parameter its gradient back, on the device where the parameter is now."""
        for name, p in self._named():
            saved = state_dict[name]
            p.grad = None if saved is None else saved.to(p.device)

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        name_of, named = bare_names(self.model), list(self.model.named_parameters())
        yield from ((name_of(path), p) for path, p in named)
        own = {id(p) for _, p in named}
        others = [p for p in self.others if id(p) not in own]
        yield from ((f"#{number}", p) for number, p in enumerate(others))


class RandomState:
    """The global random generators: torch's, each CUDA device's, NumPy's and Python's."""

    def state_dict(self) -> dict[str, Any]:
        """What `lehr.state.streams.rng_state` returns."""
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


def parts(loader: Any) -> list[tuple[Any, Any]]:
    """The loaders in a dict or list of loaders, with their keys; none of a list of batches."""
    if is_mapping(loader):
        return list(loader.items())
    if (
        not is_sequence(loader)
        or not loader
        or isinstance(loader[0], (Tensor, Mapping, tuple, list))
    ):
        return []
    return list(enumerate(loader)) if hasattr(loader[0], "__iter__") else []


def tells_state(loader: Any) -> bool:
    """Whether a loader says where it is. A wrapper may have the method, and nothing behind it.

    Example:
        >>> tells_state([1, 2]), tells_state(AttributeState([1, 2], ("gone",)))
        (False, False)
    """
    if not isinstance(loader, Stateful):
        return False
    with streams.forked():
        try:
            loader.state_dict()
        except Exception:
            return False
    return True


def loader_entries(name: str, loader: Any, *, position: bool = True) -> dict[str, Stateful]:
    """The state entries of a foreign loader: its own state, or the generators it draws from.

    Those in a dict or a list of loaders have its keys in their names. Generators are found in the
    attributes of the loader, its samplers and its dataset, and no deeper.

    Args:
        name: of the loader.
        loader: any.
        position: with False, a loader with a state of its own is its generators, too: what is
            loaded into it is where it goes on, not only what it draws. Our own are always their
            state, which says nothing of a place within a pass.

    In a fit, the batches of lehr's own loaders are a function of (seed, epoch, position); their
    state is only how often they were iterated by hand. What a sampler or a dataset in one draws
    from a generator of its own is no such function, so that generator is an entry, too.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader([1, 2], generator=torch.Generator())
        >>> list(loader_entries("train_dl", loader))
        ['train_dl.generator']
    """
    entries: dict[str, Stateful] = {}
    if (position or is_seekable(loader)) and isinstance(loader, Stateful):
        entries[name] = loader
        if not is_seekable(loader):
            return entries
    for key, part in parts(loader):
        entries |= loader_entries(f"{name}.{key}", part, position=position)
    known = {id(getattr(entry, "generator", None)) for entry in entries.values()}
    for path, entry in generators_of(loader):
        if id(getattr(entry, "generator", None)) not in known:
            entries[f"{name}.{path}"] = entry
    return entries

"""An average over time of everything in a model that is a real number."""

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final
from weakref import ref

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lehr.base.graph_part import Changes
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.state.wrappers import bare

if TYPE_CHECKING:
    from collections.abc import Generator


@final
class Average:
    """The averages of a model's parameters and buffers, by name; at first the values themselves.

    Half-precision tensors are averaged in float32. What is no real number, such as a count, is not
    averaged: it is that of the last `add`. Where the tensors are is looked up once for a model: its
    modules must stay the same objects between two calls of `add`; tensors may be replaced.

    Args:
        model: whose tensors are averaged; wrapped or not.
        buffers: whether buffers are averaged, too.

    Raises:
        ValueError: a parameter has no shape yet.

    Attributes:
        tensors: name → average, on the device of the model's tensor.
        count: how often `add` was called.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 1)
        >>> average = Average(layer)
        >>> _ = nn.init.constant_(layer.weight, 3)
        >>> average.add(layer, 0.5)
        >>> average.tensors["weight"].item()
        2.0
    """

    def __init__(self, model: nn.Module, *, buffers: bool = True) -> None:
        self._buffers = buffers
        self._model: Callable[[], nn.Module | None] = _nothing
        self._places: list[tuple[str, Callable[[], Tensor]]] = []
        with torch.no_grad():
            tensors = self._of(model)
            if lazy := [name for name, tensor in tensors.items() if is_lazy(tensor)]:
                raise ValueError(
                    f"the model must have its shapes before its weights are averaged; {lazy[0]!r} "
                    "has none yet. Call the model on one batch before the fit."
                )
            self.tensors = {name: _exact(tensor).clone() for name, tensor in tensors.items()}
        self.count = 0

    @torch.no_grad()
    def add(self, model: nn.Module, share: float) -> None:
        """Move every average towards the model by this share of the way, from 0 to 1."""
        self.count += 1
        averages: list[Tensor] = []
        values: list[Tensor] = []
        if self._model() is not model:
            self._look_up(model)
        for name, value_of in self._places:
            average, value = self.tensors[name], value_of()
            if average.is_floating_point() or average.is_complex():
                averages.append(average)
                values.append(value.to(average.dtype))
            else:
                average.copy_(value)
        if averages:
            get_ema_multi_avg_fn(1 - share)(averages, values, self.count)

    def count_one(self) -> None:
        """Count what was added without `add`, in `tensors`."""
        self.count += 1

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the averages."""
        for name, value in self._of(model).items():
            value.copy_(self.tensors[name])

    @interrupts_wait_at_both_ends
    @contextmanager
    def used_by(self, model: nn.Module) -> "Generator[None]":
        """Let the model have the averages while the scope is open; then its own values again."""
        own = {name: value.detach().clone() for name, value in self._of(model).items()}
        try:
            self.copy_to(model)
            yield
        finally:
            with torch.no_grad():
                for name, value in self._of(model).items():
                    value.copy_(own[name])

    def state_dict(self) -> dict[str, Any]:
        """The averages and how many were added."""
        return {"tensors": dict(self.tensors), "count": self.count}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the averages into those that are here.

        Raises:
            KeyError: the names are not those of the model; nothing is changed then.
        """
        loaded: Mapping[str, Tensor] = state_dict["tensors"]
        if loaded.keys() != self.tensors.keys():
            names = ", ".join(sorted(loaded.keys() ^ self.tensors.keys()))
            raise KeyError(f"the averages are of another model: {names} is in only one of them.")
        for name, average in self.tensors.items():
            average.copy_(loaded[name])
        self.count = int(state_dict["count"])

    def _of(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of the model itself that are averaged, by name."""
        self._look_up(model)
        return {name: value_of() for name, value_of in self._places}

    def _look_up(self, model: nn.Module) -> None:
        """Find where each tensor is: to ask the modules for all names takes longer than a step."""
        inner = bare(model)
        named: dict[str, dict[str, Any]] = {"_parameters": dict(inner.named_parameters())}
        if self._buffers:
            named["_buffers"] = dict(inner.named_buffers())
        self._places = [
            (path, _place(inner, path, kind, tensor))
            for kind, tensors in named.items()
            for path, tensor in tensors.items()
        ]
        self._model = ref(model) if _has_places(inner) else _nothing

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which look up where the tensors of their own model are."""
        return {**vars(self), "_model": _nothing, "_places": []}


def moved(
    values: Mapping[str, Tensor], averages: Mapping[str, Tensor], numbers: Mapping[str, Tensor]
) -> Changes:
    """What `Average.add` does, as a function for the graph of a fused step.

    Args:
        values: of the model, by name.
        averages: of those that are averaged.
        numbers: ``share`` of the way.

    Example:
        >>> change = moved({"w": torch.ones(1)}, {"w": torch.zeros(1)}, {"share": torch.ones(())})
        >>> change.tensors
        {'w': tensor([1.])}
    """
    share = numbers["share"]
    new: dict[str, Tensor] = {}
    for name, average in averages.items():
        value = values[name].to(average.dtype)
        if average.is_floating_point() or average.is_complex():
            value = torch.lerp(average, value, share.to(average.dtype))
        new[name] = value
    return Changes(tensors=new)


def _nothing() -> None: ...


def _place(model: Any, path: str, kind: str, tensor: Tensor) -> Callable[[], Tensor]:
    """Where a tensor is; of a model whose modules cannot be told, only what is there now."""
    if not _has_places(model):
        return lambda: tensor
    owner, _, leaf = path.rpartition(".")
    module = model.get_submodule(owner)
    held = cast("dict[str, Tensor] | None", vars(module).get(kind))  # a scripted part has none
    return partial(getattr, module, leaf) if held is None else partial(held.__getitem__, leaf)


def _has_places(model: Any) -> bool:
    """Whether it is a module, not scripted, nor something else with a module's methods."""
    return isinstance(model, nn.Module) and not isinstance(model, ScriptModule)


def _exact(tensor: Tensor) -> Tensor:
    half = tensor.is_floating_point() and tensor.element_size() < 4
    return tensor.float() if half else tensor

"""What a model is made of, as it runs on one batch of its data."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from numbers import Real
from typing import Any, NamedTuple, cast

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from lehr.base.hooks import hooked
from lehr.base.html import fill, lines
from lehr.base.nested import inside, names_inside, shape_text
from lehr.base.rows import aligned, markup
from lehr.inspect.first_batch import first_batch
from lehr.learner import Learner
from lehr.optim import optimizers
from lehr.optim.parts import parts_apart
from lehr.state.wrappers import bare
from lehr.types import is_sequence

_HEAD = ("layer", "type", "output", "parameters", "group", "lr", "frozen")
_MOST = 8  # shapes of one list that are shown
_YES, _PARTLY = "yes", "partly"


@dataclass(frozen=True)
class Layer:
    """One module that does something itself.

    Attributes:
        name: its path in the model.
        kind: its class.
        output: shapes of what it returned, batch first; empty if it was not called.
        parameters: numbers in parameters of its own.
        group: the optimizer's group that holds them: its name, if it has one, or its number; with
            several optimizers that of the optimizer before it; ``none`` if none holds them; empty
            if there are no parameters.
        lr: the learning rate of that group.
        frozen: ``yes`` if they are not trained, ``partly`` if some are not, or until when they are
            not trained by a `lehr.callbacks.Freeze` of the Learner; else empty.
    """

    name: str
    kind: str
    output: str
    parameters: int
    group: str
    lr: str = ""
    frozen: str = ""


@dataclass(frozen=True)
class Summary:
    """Layers, shapes, parameters and groups; prints as text, shows as a table in a notebook.

    Attributes:
        layers: in the order in which they were called first.
        groups: what each parameter group of the optimizer holds and sets, as text.
        trained: numbers that the optimizer moves.
        parameters: numbers in all parameters, shared ones once.
        buffers: numbers in all buffers.
        inputs: shapes of the batch.
        output: shapes of what the model returned for it, by name where they have one.
    """

    layers: tuple[Layer, ...]
    groups: tuple[str, ...]
    trained: int
    parameters: int
    buffers: int
    inputs: str
    output: str

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Head and rows, without columns of groups and of what is frozen that tell nothing."""
        rows = [
            (
                layer.name,
                layer.kind,
                layer.output or "not called",
                f"{layer.parameters:,}" if layer.parameters else "–",
                layer.group or "–",
                layer.lr or "–",
                layer.frozen or "–",
            )
            for layer in self.layers
        ]
        drop: set[str] = set()
        if {layer.group for layer in self.layers} <= {"", "0"}:
            drop.add("group")
        if not any(layer.frozen for layer in self.layers):
            drop.add("frozen")
        kept = [i for i, name in enumerate(_HEAD) if name not in drop]
        return tuple(_HEAD[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]

    def _foot(self) -> list[str]:
        totals = f"{self.parameters:,} parameters, {self.trained:,} of them trained"
        buffers = f"; {self.buffers:,} numbers in buffers" if self.buffers else ""
        ends = [f"input {self.inputs}", f"output {self.output}"]
        return [*ends, totals + buffers, *self.groups]

    def __str__(self) -> str:
        return "\n".join([*aligned(*self._table(), right=("parameters",)), *self._foot()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows, foot = markup(*self._table()), lines(self._foot())
        return fill("{{ rows }}<small>{{ foot }}</small>", rows=rows, foot=foot)


def summary(learn: Learner) -> Summary:
    """List layers, shapes, parameters and groups. See `lehr.Learner.summary`."""
    model = bare(learn.model)
    held = _held(learn)
    called: dict[nn.Module, str] = {}
    outputs: list[str] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        called.setdefault(module, shapes(output))

    batch = first_batch(learn)
    modules = cast(Iterator[tuple[str, nn.Module]], model.named_modules())
    parts = {module: name for name, module in modules if _acts_itself(module)}
    scripted = {module for module in parts if isinstance(module, ScriptModule)}
    open_ones = (module for module in parts if module not in scripted)
    hooks = (partial(module.register_forward_hook, note) for module in open_ones)
    with hooked(hooks), learn.probe():
        learn.predict([batch], select=lambda output: outputs.append(shapes(output)))
        called |= dict.fromkeys(scripted, "not seen: scripted")
        ends = shapes(learn.split_batch(batch)[0]), outputs[0]
        return _summed_up(learn, model, parts, called, held, ends)


def _summed_up(
    learn: Learner,
    model: nn.Module,
    parts: Mapping[nn.Module, str],
    called: Mapping[nn.Module, str],
    held: "_Held",
    ends: tuple[str, str],
) -> Summary:
    order: list[nn.Module] = [*called, *(module for module in parts if module not in called)]
    parameters = list(model.parameters())  # shared ones once
    return Summary(
        layers=tuple(
            _layer(module, parts[module], called.get(module, ""), held) for module in order
        ),
        groups=tuple(_group_lines(learn.opt)),
        trained=sum(
            _size(p) for p in parameters if id(p) in held.group and held.frozen_for(p) != _YES
        ),
        parameters=sum(map(_size, parameters)),
        buffers=sum(map(_size, model.buffers())),
        inputs=ends[0],
        output=ends[1],
    )


def shapes(value: Any) -> str:
    """The shapes of all tensors in a nesting, as text; of other things the class.

    Entries of a list that look alike are written once, with their number. None is left out.

    Example:
        >>> import torch
        >>> shapes((torch.zeros(2, 3), {"mask": torch.zeros(2)}))
        '(2, 3), mask (2)'
        >>> shapes({"logits": torch.zeros(8, 2), "states": [torch.zeros(8, 4)] * 3})
        'logits (8, 2), states 3 × (8, 4)'
    """
    return ", ".join(_shapes(value)) or type(value).__name__


def _shapes(value: Any, name: str = "") -> list[str]:
    if value is None:
        return []
    if isinstance(value, Tensor):
        return [f"{name} {_size_text(value)}".strip()]
    if isinstance(value, PackedSequence):
        return [f"{name} {type(value).__name__} {_size_text(value.data)}".strip()]
    if is_sequence(value):
        return [f"{name} {text}".strip() for text in _alike(value)]
    if (names := names_inside(value)) is not None:
        pairs = zip(names, inside(value) or (), strict=True)
        return [text for key, inner in pairs for text in _shapes(inner, key)]
    return [f"{name} {type(value).__name__}".strip()]


def _alike(values: Any) -> list[str]:
    """What `_shapes` gives for each, neighbours that look alike once, and at most a few."""
    texts: list[str] = []
    for text, group in groupby(map(_shapes, values)):
        count = len(list(group))
        whole = f"[{', '.join(text)}]" if len(text) > 1 else "".join(text)
        if count == 1:
            texts += text
        elif text:
            texts.append(f"{count} × {whole}")
    return texts if len(texts) <= _MOST else [*texts[:_MOST], "…"]


def _size_text(tensor: Tensor) -> str:
    return shape_text(tensor).replace(",)", ")")


def _acts_itself(module: nn.Module) -> bool:
    own = next(module.parameters(recurse=False), None) is not None
    return own or next(module.children(), None) is None


def _layer(module: nn.Module, name: str, output: str, held: "_Held") -> Layer:
    own = list(module.parameters(recurse=False))
    times = dict.fromkeys(held.frozen_for(p) for p in own)
    return Layer(
        name or "(model)",
        type(module).__name__,
        output,
        sum(map(_size, own)),
        _listed(held.group.get(id(p), "none") for p in own),
        _listed(held.lr[id(p)] for p in own if id(p) in held.lr),
        _PARTLY if set(times) == {"", _YES} else _listed(filter(None, times)),
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _size(p: Tensor) -> int:
    return 0 if is_lazy(p) else p.numel()


def _named(opt: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, optimizer and content of every parameter group."""
    for name, one in optimizers.by_name(opt).items():
        for number, group in enumerate(one.param_groups):
            yield f"{name}.{group.get('name', number)}".lstrip("."), one, group


class _Held(NamedTuple):
    """What is known of each parameter, by its ``id``."""

    group: dict[int, str]
    lr: dict[int, str]
    times: dict[int, str]  # until when it is frozen by a callback

    def frozen_for(self, p: Tensor) -> str:
        """How long it is frozen; empty if it is trained from the beginning."""
        return self.times.get(id(p), "") if p.requires_grad else _YES


def _held(learn: Learner) -> _Held:
    held = _Held({}, {}, {})
    for name, _, group in _named(learn.opt):
        for p in group["params"]:
            held.group[id(p)] = name
            if "lr" in group:
                held.lr[id(p)] = _value(group["lr"])
    for callback in learn.callbacks:
        for part, parameters in parts_apart(learn.model, learn.opt, callback.freezes).items():
            text = _until(callback.freezes[part])
            held.times.update((id(p), text) for p in parameters if text)
    return held


def _until(time: float | None) -> str:
    if time is None:
        return _YES
    if not time:
        return ""
    return f"until {time:.0%} of the steps" if isinstance(time, float) else f"until epoch {time}"


def _group_lines(opt: Any) -> Iterator[str]:
    for name, one, group in _named(opt):
        count = sum(_size(p) for p in group["params"])
        known = [key for key in ("lr", "momentum", "weight_decay") if key in group]
        values = ", ".join(f"{key} {_value(group[key])}" for key in known)
        yield f"group {name}: {type(one).__name__}, {count:,} parameters, {values}"


def _value(value: Any) -> str:
    """A hyper-parameter as text; of some optimizers it is None, or a pair."""
    number = isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)
    return f"{float(value):g}" if number else str(value)

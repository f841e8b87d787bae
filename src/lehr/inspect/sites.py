"""Where a model's signal can be measured: every weight, activation, normalisation it passes."""

import math
import weakref
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.overrides import TorchFunctionMode, handle_torch_function

from lehr.base.hooks import hooked
from lehr.base.interrupts import (
    heed,
    heeds_interrupts,
    interrupts_wait_at_both_ends,
    interrupts_wait_in,
)
from lehr.base.nested import floats_in, tensors_in
from lehr.base.signals import patient
from lehr.init import Fans, fans
from lehr.inspect.moments import Moments, dead_share, histogram, moments
from lehr.state.entries import modules
from lehr.types import is_sequence

Role = Literal["weight", "activation", "norm", "mixer", "output"]

_CONVS = {f"conv{t}{d}d": bool(t) for t in ("", "_transpose") for d in (1, 2, 3)}
_PRODUCTS = ("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum")
_TABLES = ("embedding", "embedding_bag")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
_MIXERS = (  # bounded by gates or by weights that sum to 1: no scale goes through them
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"),
    *("rnn_relu_cell", "multi_head_attention_forward", "scaled_dot_product_attention"),
)
_SATURATED: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda y: (y < 0.01) | (y > 0.99),
    "hardsigmoid": lambda y: (y <= 0) | (y >= 1),
    "tanh": lambda y: y.abs() > 0.99,
    "hardtanh": lambda y: y.abs() >= 1,
}
_RECTIFIERS = ("relu", "relu6", "threshold")
_ACTIVATIONS = (
    *(*_RECTIFIERS, *_SATURATED, "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu"),
    *("silu", "mish", "softplus", "hardswish", "softsign", "glu"),
)


@dataclass(slots=True)
class Site:
    """One place that the signal passes, each time that it does.

    Attributes:
        name: the module's path in the model, or the parameter's; `` (2)`` for the second pass.
        kind: the function that acts there, as torch calls it.
        role: whether it multiplies with weights, is an activation, normalises, mixes (recurrence,
            attention), or is the model's output.
        shape: of what comes out, batch first.
        given: what comes in; None where that is not floating point, as for an embedding.
        out: what comes out.
        grad: the gradient that comes back to it; None where there is none.
        parameter: the name of the weights.
        fans: how many numbers each output sums over, and how many each input reaches.
        scale: root of the mean square of the weights.
        slope: of a leaky rectifier below zero.
        dead: share of units that were zero for every item.
        saturated: share of numbers where the activation is flat.
        counts: a histogram of what comes out, over `lehr.inspect.moments.EDGES`.
        added: whether what comes out is added to something else: the end of a branch.
        begins: the number of the branch's first site, where that was seen.
        signal: the spread across items that comes out, as a share of what came into the chain of
            layers since the last normalisation; pooling and the like are not held against it.
    """

    name: str
    kind: str
    role: Role
    shape: tuple[int, ...]
    given: Moments | None
    out: Moments
    grad: Moments | None = None
    parameter: str | None = None
    fans: Fans | None = None
    scale: float | None = None
    slope: float = 0.0
    dead: float | None = None
    saturated: float | None = None
    counts: list[int] = field(default_factory=list[int])
    added: bool = False
    begins: int | None = None
    signal: float | None = None

    @property
    def own_gain(self) -> float | None:
        """By how much the weights spread independent inputs: ``scale · √fan_in``."""
        if self.scale is None or self.fans is None:
            return None
        return self.scale * math.sqrt(self.fans.fan_in)

    @property
    def predicted(self) -> float | None:
        """The spread across items that the own gain predicts."""
        gain = self.own_gain
        return None if gain is None or self.given is None else gain * self.given.across


class SiteRecorder(TorchFunctionMode):
    """Notes every site that a forward pass meets, and the gradients that come back to it.

    It sees functions, not modules, so that ``F.relu`` and ``nn.ReLU``, ``F.linear`` with a bare
    parameter and ``nn.Linear`` are the same.

    Args:
        model: the model; only names are taken from it.
        items: items in the batch.
    """

    def __init__(self, model: nn.Module, items: int) -> None:
        super().__init__()
        self.sites: list[Site] = []
        self.hidden: list[str] = []
        """names of modules in which nothing can be seen"""
        self._items = items
        self._inside: list[str] = [""]
        self._names = {module: name for name, module in modules(model)}
        self._parameters = {id(p): name for name, p in model.named_parameters()}
        self._passes: Counter[str] = Counter()
        self._channels_last = False
        self._given_by: dict[int, tuple[weakref.ref[Tensor], Site]] = {}
        self._given_to: list[weakref.ref[Tensor] | None] = []

    @interrupts_wait_at_both_ends
    @contextmanager
    def recording(self) -> Generator[None]:
        """While it is open, sites are noted; the hooks that tell where we are go with it."""
        scripted = [m for m in self._names if isinstance(m, torch.jit.ScriptModule)]
        self.hidden += [self._names[m] or "(model)" for m in scripted]
        seen = [m for m in self._names if m not in scripted]  # a script takes no hooks
        enter = (partial(m.register_forward_pre_hook, self._enter) for m in seen)
        leave = (partial(m.register_forward_hook, self._leave, always_call=True) for m in seen)
        with patient(), hooked([*enter, *leave]), interrupts_wait_in(handle_torch_function), self:
            yield  # while a function is at work, torch takes the mode off and puts it back

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._inside.append(self._names[module])

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._inside.pop()

    @heeds_interrupts
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        heed()
        kwargs = kwargs or {}
        kind = str(getattr(func, "__name__", "")).rstrip("_")
        if kind.startswith("__"):
            kind = str(func.__name__)
        given = _first(args, kwargs)
        note = self._noting(kind, args, kwargs)
        if note is not None and _is_transformed():
            self.hidden.append(self._inside[-1] or "(model)")
            note = None
        before = None if note is None else self._moments(given)
        output = func(*args, **kwargs)
        if note is not None:
            note(before, _tensor(output))
            if len(self.sites) > len(self._given_to):
                self._given_to.append(weakref.ref(given) if isinstance(given, Tensor) else None)
        elif "dropout" in kind and (site := self._giver(given)) is not None:
            self._given_by[id(output)] = weakref.ref(output), site
        elif kind.strip("_") in ("add", "radd", "iadd"):
            self._note_sum([a for a in args if isinstance(a, Tensor)])
        return output

    def _giver(self, value: Any) -> Site | None:
        """The layer whose very output this is, if it is one."""
        known, site = self._given_by.get(id(value), (None, None))
        return site if known is not None and known() is value else None

    def _note_sum(self, terms: list[Tensor]) -> None:
        """The later of two terms ends a branch, if that began with the other one."""
        if len(terms) != 2 or terms[0].shape != terms[1].shape:
            return
        givers = [self._giver(term) for term in terms]
        order = [-1 if site is None else self._number(site) for site in givers]
        later = order.index(max(order))
        end, other = givers[later], terms[1 - later]
        receivers = (i for i, ref in enumerate(self._given_to) if ref and ref() is other)
        begins = next(receivers, None)
        if end is not None and (begins is not None or givers[1 - later] is None):
            end.added, end.begins = True, begins

    def _number(self, site: Site) -> int:
        return next(i for i, other in enumerate(self.sites) if other is site)

    def _noting(self, kind: str, args: Any, kwargs: Any) -> Callable[..., None] | None:
        """What to do with the input's moments and the output, if this is a site."""
        if kind in ("linear", "bilinear", *_CONVS, *_TABLES, *_PRODUCTS):
            weight = self._weight(kind, args, kwargs)
            return weight and partial(self._note, kind.strip("_"), "weight", weight=weight)
        if kind in _NORMS:
            return partial(self._note, kind, "norm")
        if kind in _MIXERS:
            return partial(self._note, kind, "mixer")
        if kind in _ACTIVATIONS:
            slope = _slope(kind, args, kwargs)
            return partial(self._note, kind, "activation", slope=slope)
        return None

    def _weight(self, kind: str, args: Any, kwargs: Any) -> tuple[Tensor, Fans | None] | None:
        """The weights that this call multiplies with, and what each output sums over."""
        if kind in _PRODUCTS:
            for place, one in enumerate(tensors_in(args)):
                if id(one) in self._parameters and one.ndim >= 2:
                    ends = one.shape[-1], one.shape[-2]
                    fan_in, fan_out = ends if place == 0 else ends[::-1]
                    return one, None if kind == "einsum" else Fans(fan_in, fan_out, 1)
            return None
        place = 2 if kind == "bilinear" else 1
        weight = kwargs["weight"] if "weight" in kwargs else args[place]
        if kind in _TABLES:
            return weight, None
        if kind == "bilinear":
            return weight, Fans(weight[0].numel(), len(weight), 1)
        if kind == "linear":
            return weight, fans(weight.abs()) if weight.ndim == 2 else None
        groups = kwargs.get("groups", args[6] if len(args) > 6 else 1)
        stride = kwargs.get("stride", args[3] if len(args) > 3 else 1)
        steps = math.prod(stride) if is_sequence(stride) else stride ** (weight.ndim - 2)
        return weight, fans(weight.abs(), groups=groups, transposed=_CONVS[kind], stride=steps)

    def _note(
        self,
        kind: str,
        role: Role,
        given: Moments | None,
        output: Tensor | None,
        *,
        weight: tuple[Tensor, Fans | None] | None = None,
        slope: float = 0.0,
    ) -> None:
        if output is None:
            return
        parameter = self._parameters.get(id(weight[0])) if weight else None
        name = self._inside[-1]
        if parameter is not None and role == "weight":
            name = "" if parameter == "weight" else parameter.removesuffix(".weight")
        self._passes[name + kind] += 1
        times = self._passes[name + kind]
        site = Site(
            name=(name or "(model)") + (f" ({times})" if times > 1 else ""),
            kind=kind,
            role=role,
            shape=tuple(output.shape),
            given=given,
            out=moments(output, self._items),
            parameter=parameter,
            slope=slope,
            counts=histogram(output),
        )
        if weight is not None:
            values = weight[0].detach().abs().float()
            site.scale = values.square().mean().sqrt().item() if values.numel() else 0.0
            site.fans = weight[1]
            self._channels_last = kind not in _CONVS
        if kind in _RECTIFIERS:
            site.dead = dead_share(output, channels_last=self._channels_last)
        if kind in _SATURATED:
            site.saturated = _SATURATED[kind](output.detach()).float().mean().item()
        self._follow(site, output)
        self.sites.append(site)
        if role != "activation":
            self._given_by[id(output)] = weakref.ref(output), site

    def output(self, prediction: Any) -> None:
        """Note what the model returned as the last site."""
        if (last := _tensor(prediction)) is not None:
            measured = moments(last, self._items)
            self.sites.append(Site("(output)", "", "output", tuple(last.shape), measured, measured))

    def _moments(self, value: Any) -> Moments | None:
        known = isinstance(value, Tensor) and value is _tensor(value)
        return moments(value, self._items) if known else None

    def _follow(self, site: Site, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(partial(_note_gradient, site, self._items))  # type: ignore[reportUnknownMemberType]


def _note_gradient(site: Site, items: int, gradient: Tensor) -> None:
    site.grad = moments(gradient, items)


def _first(args: Any, kwargs: Mapping[str, Any]) -> Any:
    if args:
        formula = isinstance(args[0], str) and len(args) > 1  # einsum begins with one
        return args[1] if formula else args[0]
    return kwargs.get("input", kwargs.get("query"))


def _tensor(value: Any) -> Tensor | None:
    """The first tensor in a nesting that can be measured."""
    return next((tensor for tensor in floats_in(value) if tensor.ndim), None)


def _is_transformed() -> bool:
    """Whether a transform of ``torch.func`` is at work, under which no tensor has a value."""
    innermost: Any = peek_interpreter_stack()
    return innermost is not None


def _slope(kind: str, args: Any, kwargs: Any) -> float:
    if kind == "leaky_relu":
        return float(kwargs.get("negative_slope", args[1] if len(args) > 1 else 0.01))
    if kind == "prelu":
        return float(args[1].detach().float().mean())
    return 0.0

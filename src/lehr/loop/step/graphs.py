"""Whole training steps as compiled functions: forward, loss, gradient and update in one."""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from time import perf_counter
from types import FunctionType
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from lehr.base.graph_part import Changes
from lehr.loop.loss_parts import summed
from lehr.loop.step.compiled import Compiled
from lehr.loop.step.kept import KeptGradients
from lehr.loop.step.scalars import Numbers
from lehr.loop.step.verdict import Verdict
from lehr.optim.functional import Form

_numbers = count()
Size = list[tuple[torch.Size, torch.dtype]]

_STAYS = re.compile(
    r"(parts|place)\b"  # what `whole_step` was given
    r"|G\['(?!__import_)"  # what this file's functions name
    r"|G\['__import_(torch|lehr|contextlib)(_dot_|')"  # what those that they call name
    r"|__import__\('torch'\)"
)
"""torch's names for values of which it is known that they stay as they are"""
_SWITCH = re.compile(r"G\['__import_torch\w*'\](\.[a-z]\w*)+")
"""its names for constants of its own, of which it is not"""

Place = Literal["whole", "gather", "close"]
"""A batch that is a window by itself; one that does not close its window; the last of several"""


class Part(NamedTuple):
    """Some parameters of the model that one parameter group trains."""

    form: Form
    """how they are updated"""
    names: tuple[str, ...]
    """in the model"""


PREDICT, LOSS, BACKWARD = "predict", "compute_loss", "backward"
FINISH, STEPPED = "finish_grad", "after_step"
"""The methods of callbacks that a graph can include: three of every batch, two of a step"""


def _nothing() -> None: ...


class Function(NamedTuple):
    """A function of a callback in the graph."""

    method: str
    """which of the callback's methods it stands for"""
    call: Callable[..., Any]
    """as `lehr.base.graph_part.GraphPart` says"""


class Given(NamedTuple):
    """What a step is made of: all tensors and numbers that it takes."""

    trained: Any
    """for each part, the parameters"""
    others: Mapping[str, Tensor]
    """all other parameters, and the buffers, by name"""
    args: Any
    """of the model"""
    named: Mapping[str, Any]
    """arguments of the model by name"""
    yb: Any
    """the target"""
    weight: Any
    """of the batch; None where the share is the mean loss itself"""
    states: Any = ()
    """for each part, those of the optimizer"""
    numbers: Any = ()
    """for each part, the hyper-parameters"""
    offered: Any = ()
    """for each function of a callback, its tensors and its numbers"""
    gathered: Any = ()
    """for each part, the gradients that the window has gathered so far"""
    total: Any = None
    """weight of the window with this batch"""


class Graphs:
    """The compiled steps of a Learner; each is compiled once, however many fits use it.

    Args:
        backend: of ``torch.compile``.
        measures: whether it is measured first which step is the faster one.
        clock: for that; it returns seconds.

    Attributes:
        verdict: which one that is. Copies share it, for they are of the same model.
        size: shape and type of each tensor in the first batch of the epoch; None if not known.
        captures: whether steps on a CUDA device become CUDA graphs: one call then starts all
            kernels of a step.
        gradients: those that such graphs gather.

    Example:
        >>> Graphs("eager")
        Graphs('eager')
    """

    def __init__(
        self,
        backend: str,
        *,
        measures: bool = False,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.backend, self.measures = backend, measures
        self.verdict = Verdict(clock)
        self.size: Size | None = None
        self.captures = backend == "inductor"
        self._numbers: dict[torch.device, Numbers] = {}
        self.gradients = KeptGradients()
        self._made: dict[Hashable, tuple[Any, Compiled]] = {}

    def of(
        self,
        model: nn.Module,
        loss_func: Callable[..., Any],
        parts: Sequence[Part],
        *,
        target: bool,
        sums: bool,
        place: Place = "whole",
        inside: Sequence[Function] = (),
        held: Hashable = (),
        captures: bool = False,
        making: Callable[[], None] = _nothing,
    ) -> Compiled:
        """The compiled step; see `whole_step`. Before a new one is made, ``making`` is called.

        ``held`` is what tells the functions of callbacks from others. ``captures`` says whether it
        becomes a CUDA graph; see `captures_on`.
        """
        shape = [(part.form.function, part.names) for part in parts]
        key = (id(model), id(loss_func), tuple(shape), target, sums, place, held, captures)
        if key not in self._made:
            making()
            step = whole_step(
                model, loss_func, parts, target=target, sums=sums, place=place, inside=inside
            )
            compiled = _compiled(step, self.backend, captures=captures)
            self._made[key] = (model, loss_func), compiled  # held, so that their ids stay theirs
        return self._made[key][1]

    def captures_on(self, device: torch.device) -> bool:
        """Whether the steps of a model on this device become CUDA graphs.

        Example:
            >>> Graphs("inductor").captures_on(torch.device("cpu"))
            False
        """
        return self.captures and device.type == "cuda"

    def numbers_for(self, device: torch.device) -> Numbers:
        """The numbers of all graphs of a model on this device, where the graphs read them.

        Example:
            >>> graphs, cpu = Graphs("inductor"), torch.device("cpu")
            >>> graphs.numbers_for(cpu) is graphs.numbers_for(cpu)
            True
        """
        place = device if self.captures_on(device) else torch.device("cpu")
        return self._numbers.setdefault(place, Numbers(place))

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs: the choice, and of what size the steps are.

        Example:
            >>> graphs = Graphs("eager")
            >>> graphs.size = [(torch.Size([8, 3]), torch.float32)]
            >>> graphs.state_dict()
            {'fused': None, 'size': [[[8, 3], 'float32']]}
        """
        size = self.size and [[list(shape), str(kind)[6:]] for shape, kind in self.size]
        return {**self.verdict.state_dict(), "size": size}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the choice of another run, if it had one already, and the size."""
        self.verdict.load_state_dict(state_dict)
        size = state_dict.get("size")
        self.size = size and [(torch.Size(shape), getattr(torch, kind)) for shape, kind in size]

    def __deepcopy__(self, memo: Any) -> "Graphs":
        other = Graphs(self.backend, measures=self.measures)
        other.verdict = self.verdict
        return other

    def __reduce__(self) -> Any:
        return Graphs, (self.backend,), {"measures": self.measures, "verdict": self.verdict}

    def __repr__(self) -> str:
        return f"Graphs({self.backend!r})"


def _compiled(step: Callable[..., Any], backend: str, *, captures: bool) -> Compiled:
    """The step, compiled as a whole.

    Before each call torch checks only what may have changed since the last one. A check of all
    takes 50 µs.
    """
    options: dict[str, Any] = {}
    if hasattr(torch.compiler, "skip_guard_on_globals_unsafe"):  # else torch has no such option
        options["guard_filter_fn"] = _changing
    if backend == "inductor":
        with suppress(ImportError):  # of a torch that has no such passes
            from lehr.loop.step.factors import Factors
            from lehr.loop.step.once import Once

            options["post_grad_custom_pre_pass"] = Factors()
            options["post_grad_custom_post_pass"] = Once()
    compile_with = partial(torch.compile, fullgraph=True, backend=backend)
    from lehr.loop.step.direct import Direct

    if not captures:
        return Direct(step, compile_with(step, options=options or None))
    from lehr.loop.step.capture import OPTIONS, Captured

    return Captured(Direct(step, compile_with(step, options=options | OPTIONS), by_torch=True))


def _changing(guards: Sequence[Any]) -> list[bool]:
    return [_may_change(guard) for guard in guards]


def _may_change(guard: Any) -> bool:
    """Whether it is to be checked before each call that something is as when it was compiled.

    The functions, classes and modules of torch and of this library stay what they are; torch's
    switches may not. Whether a module has hooks is asked by `lehr.loop.step.layout.Layout`.
    """
    if guard.guard_type in ("CONSTANT_MATCH", "EQUALS_MATCH") and _SWITCH.fullmatch(guard.name):
        return True
    return guard.guard_type != "EMPTY_NN_MODULE_HOOKS_DICT" and not _STAYS.match(guard.name)


def whole_step(
    model: nn.Module,
    loss_func: Callable[..., Any],
    parts: Sequence[Part],
    *,
    target: bool,
    sums: bool,
    place: Place = "whole",
    inside: Sequence[Function] = (),
) -> Callable[..., Any]:
    """A function that makes a step of training, in place; nothing is compiled yet.

    It takes what is in a `Given`, and returns loss, prediction, parts of the loss, and the numbers
    that functions of callbacks log, by their place in ``inside``.

    Args:
        model: called by ``torch.func.functional_call``.
        loss_func: as the Learner has it.
        parts: what is trained.
        target: whether the loss function is given the target.
        sums: whether the loss is a sum over the items, not a mean.
        place: the batch's in its update window. Where the window has several batches, each adds its
            share of the gradient to ``gathered``, and the last one makes the step.
        inside: what callbacks do within the step, in order, the outermost first.

    Example:
        >>> from lehr.optim.functional import form_of
        >>> model = nn.Linear(1, 1, bias=False)
        >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> form, before = form_of(opt), model.weight.item()
        >>> parts, xb = [Part(form, ("weight",))], torch.ones(2, 1)
        >>> step = whole_step(model, torch.mean, parts, target=False, sums=False)
        >>> numbers = form.numbers_of(opt.param_groups[0])
        >>> with torch.no_grad():
        ...     _ = step([[model.weight]], {}, (xb,), {}, None, None, [[[None]]], [numbers])
        >>> round(before - model.weight.item(), 4)
        0.1
    """

    def loss_of(
        trained: list[list[Tensor]],
        others: Mapping[str, Tensor],
        args: Sequence[Any],
        named: Mapping[str, Any],
        yb: Any,
        weight: Any,
        offered: Any,
    ) -> Any:
        held = dict(others)
        for part, params in zip(parts, trained, strict=True):
            held.update(zip(part.names, params, strict=True))

        def predict(args: Sequence[Any], named: Mapping[str, Any]) -> Any:
            return functional_call(model, held, tuple(args), dict(named))

        def compute_loss(pred: Any, yb: Any) -> Any:
            return loss_func(pred, yb) if target else loss_func(pred)

        pred = _wrapped(PREDICT, predict, inside, offered)(args, named)
        for name, tensor in others.items():
            if held[name] is not tensor:  # a buffer that the model has replaced by another tensor
                tensor.copy_(held[name])
        loss, of_loss = summed(_wrapped(LOSS, compute_loss, inside, offered)(pred, yb))
        of_loss = {name: torch.as_tensor(part) for name, part in (of_loss or {}).items()}
        if place == "whole":
            share = loss / weight if sums else loss
        else:
            share = loss if sums else loss * weight
        for function, own in zip(reversed(inside), reversed(offered), strict=True):
            if function.method == BACKWARD:
                share = function.call(share, *own)
        return share, (loss, pred, of_loss)

    def step(
        trained: Any,
        others: Any,
        args: Any,
        named: Any,
        yb: Any,
        weight: Any,
        states: Any = (),
        numbers: Any = (),
        offered: Any = (),
        gathered: Any = (),
        total: Any = None,
    ) -> Any:
        gradients = grad_and_value(loss_of, has_aux=True)
        given = (trained, others, args, named, yb, weight, offered)
        grads, (_, (loss, pred, of_loss)) = gradients(*given)
        if place == "gather":
            for old, new in zip(gathered, grads, strict=True):
                for so_far, grad in zip(old, new, strict=True):
                    so_far.add_(grad)
            return loss, pred, of_loss, {}
        found: dict[str, Tensor] = {}
        weights = dict(others)
        for i, part in enumerate(parts):
            found.update(zip(part.names, grads[i], strict=True))
            weights.update(zip(part.names, trained[i], strict=True))
            if place == "close":
                for name, so_far in zip(part.names, gathered[i], strict=True):
                    found[name] = (so_far + found[name]) / total
        logs: dict[int, Mapping[str, Tensor]] = {}
        skips: Tensor | None = None
        for i, (function, (tensors, own)) in enumerate(zip(inside, offered, strict=True)):
            if function.method == FINISH:
                changes = function.call(found, tensors, own)
                logs[i] = _write(changes, found, tensors, {})
                skips = _either(skips, changes.skips)
        for i, part in enumerate(parts):
            new = [found[name] for name in part.names]
            _update(part.form, trained[i], new, states[i], numbers[i], skips)
        for i, (function, (tensors, own)) in enumerate(zip(inside, offered, strict=True)):
            if function.method == STEPPED:
                logs[i] = _write(function.call(weights, tensors, own), {}, tensors, weights, skips)
        return loss, pred, of_loss, logs

    return _alone(step)


def _wrapped(
    method: str, inner: Callable[..., Any], inside: Sequence[Function], offered: Sequence[Any]
) -> Callable[..., Any]:
    """What the functions of callbacks make of one that predicts, or computes the loss."""
    for function, given in zip(reversed(inside), reversed(offered), strict=True):
        if function.method == method:
            inner = _around(function.call, inner, given)
    return inner


def _around(call: Callable[..., Any], inner: Callable[..., Any], given: Any) -> Callable[..., Any]:
    def outer(first: Any, second: Any) -> Any:
        return call(inner, first, second, *given)

    return outer


def _either(skips: Tensor | None, more: Tensor | None) -> Tensor | None:
    if skips is None or more is None:
        return more if skips is None else skips
    return skips | more


def _update(
    form: Form,
    params: list[Tensor],
    grads: list[Tensor],
    states: list[list[Any]],
    numbers: Mapping[str, Any],
    skips: Tensor | None,
) -> None:
    """The update of a part; where ``skips`` is true, weights and states stay what they were."""
    places = [*params, *(tensor for kind in states for tensor in kind if tensor is not None)]
    before = [] if skips is None else [place.clone() for place in places]
    form.update(params, grads, states, numbers)
    for place, old in zip(places, before, strict=False):
        _put(place, place, old, skips)


def _put(place: Tensor, value: Tensor, old: Tensor, skips: Tensor | None) -> None:
    place.copy_(value if skips is None else torch.where(skips, old, value))


def _write(
    changes: Changes,
    named: dict[str, Tensor],
    tensors: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    skips: Tensor | None = None,
) -> Mapping[str, Tensor]:
    """Do what a function wants changed; returns what it logs.

    Args:
        changes: what it returned.
        named: the gradients, where others take their place.
        tensors: the callback's own, which are copied into.
        weights: parameters and buffers, which are copied into.
        skips: where it is true, nothing is changed.
    """
    for name, value in changes.tensors.items():
        _put(tensors[name], value, tensors[name], skips)
    for name, value in changes.values.items():
        if name in weights:
            _put(weights[name], value, weights[name], skips)
        else:
            named[name] = value
    return dict(changes.logs)


def _alone(function: Any) -> Callable[..., Any]:
    """The same function with code of its own.

    torch keeps compiled graphs, and which sizes have changed, by the code of a function and its
    name: all Learners of a program would share one small cache.
    """
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    return cast(
        "Callable[..., Any]",
        FunctionType(
            *(code, function.__globals__, code.co_name),
            *(function.__defaults__, function.__closure__),
        ),
    )

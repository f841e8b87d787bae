"""Whole training steps as compiled functions: forward, loss, gradient and update in one."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import count
from types import FunctionType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from lehr.loop.loss_parts import summed
from lehr.optim.functional import Form

_numbers = count()


class Part(NamedTuple):
    """Some parameters of the model that one parameter group trains."""

    form: Form
    """how they are updated"""
    names: tuple[str, ...]
    """in the model"""


class Graphs:
    """The compiled steps of a Learner; each is compiled once, however many fits use it.

    Args:
        backend: of ``torch.compile``.

    Example:
        >>> Graphs("eager")
        Graphs('eager')
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._made: dict[Hashable, tuple[Any, Callable[..., Any]]] = {}

    def of(
        self,
        model: nn.Module,
        loss_func: Callable[..., Any],
        parts: Sequence[Part],
        *,
        target: bool,
        sums: bool,
    ) -> Callable[..., Any]:
        """The compiled step; see `whole_step`."""
        shape = [(part.form.function, part.names) for part in parts]
        key = (id(model), id(loss_func), tuple(shape), target, sums)
        if key not in self._made:
            step = whole_step(model, loss_func, parts, target=target, sums=sums)
            compiled = torch.compile(step, fullgraph=True, backend=self.backend)
            self._made[key] = (model, loss_func), compiled  # held, so that their ids stay theirs
        return self._made[key][1]

    def __deepcopy__(self, memo: Any) -> "Graphs":
        return Graphs(self.backend)

    def __reduce__(self) -> Any:
        return Graphs, (self.backend,)

    def __repr__(self) -> str:
        return f"Graphs({self.backend!r})"


def whole_step(
    model: nn.Module,
    loss_func: Callable[..., Any],
    parts: Sequence[Part],
    *,
    target: bool,
    sums: bool,
) -> Callable[..., Any]:
    """A function that makes a step of training, in place; nothing is compiled yet.

    It takes, in this order: for each part the parameters, the states of the optimizer, and its
    numbers; all other parameters and buffers by name; the arguments of the model, those by name,
    and the target; the weight of the batch. It returns loss, prediction and parts of the loss.

    Args:
        model: called by ``torch.func.functional_call``.
        loss_func: as the Learner has it.
        parts: what is trained.
        target: whether the loss function is given the target.
        sums: whether the loss is a sum over the items, not a mean.

    Example:
        >>> from lehr.optim.functional import form_of
        >>> model = nn.Linear(1, 1, bias=False)
        >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> form, before = form_of(opt), model.weight.item()
        >>> parts, xb = [Part(form, ("weight",))], torch.ones(2, 1)
        >>> step = whole_step(model, torch.mean, parts, target=False, sums=False)
        >>> numbers = form.numbers_of(opt.param_groups[0])
        >>> with torch.no_grad():
        ...     _ = step([[model.weight]], [[[None]]], [numbers], {}, (xb,), {}, None, None)
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
    ) -> Any:
        held = dict(others)
        for part, params in zip(parts, trained, strict=True):
            held.update(zip(part.names, params, strict=True))
        pred = functional_call(model, held, tuple(args), dict(named))
        for name, tensor in others.items():
            if held[name] is not tensor:  # a buffer that the model has replaced by another tensor
                tensor.copy_(held[name])
        loss, of_loss = summed(loss_func(pred, yb) if target else loss_func(pred))
        of_loss = {name: torch.as_tensor(part) for name, part in (of_loss or {}).items()}
        return loss / weight if sums else loss, (loss, pred, of_loss)

    def step(
        trained: list[list[Tensor]],
        states: list[list[list[Any]]],
        numbers: list[dict[str, Any]],
        others: Mapping[str, Tensor],
        args: Sequence[Any],
        named: Mapping[str, Any],
        yb: Any,
        weight: Any,
    ) -> Any:
        gradients = grad_and_value(loss_of, has_aux=True)
        grads, (_, (loss, pred, of_loss)) = gradients(trained, others, args, named, yb, weight)
        for i, part in enumerate(parts):
            part.form.update(trained[i], list(grads[i]), states[i], numbers[i])
        return loss, pred, of_loss

    return _alone(step)


def _alone(function: Any) -> Callable[..., Any]:
    """The same function with code of its own.

    torch keeps compiled graphs, and which sizes have changed, by the code of a function and its
    name: all Learners of a program would share one small cache.
    """
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    return cast(
        "Callable[..., Any]",
        FunctionType(code, function.__globals__, code.co_name, None, function.__closure__),
    )

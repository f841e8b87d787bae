"""Parameters that nothing trains, and optimizers that train nothing: said at the start of a fit."""

import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from inspect import isfunction
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lehr.base.reach import reached
from lehr.callback import Callback
from lehr.optim import optimizers
from lehr.optim.parts import parts_apart

_SHOWN = 6  # names in a message


def require_trained(model: nn.Module, opt: optimizers.Optimizers) -> None:
    """See that the optimizers hold something of the model.

    Raises:
        ValueError: they hold none of its parameters.
    """
    own = {id(p) for p in model.parameters()}
    held = optimizers.held_parameters(opt)
    if not any(id(p) in own for p in held):
        raise ValueError(
            f"opt holds {len(held)} parameters, none of which is one of the model's {len(own)}: "
            "nothing would be trained. Make it from model.parameters(), after the model has its "
            "last shape."
        )


def warn_of_untrained(
    model: nn.Module,
    opt: optimizers.Optimizers,
    loss_func: Callable[..., Any],
    callbacks: Iterable[Callback] = (),
) -> None:
    """Warn of parameters that require gradients, but that no optimizer holds.

    Args:
        model: whose parameters.
        opt: the optimizers.
        loss_func: its parameters are looked at as well. If it is no module, those are the ones that
            it can reach, as a function around a module can; but what is in evaluation mode there
            is taken for a teacher.
        callbacks: of the fit; what one of them freezes for all of it need not be held. What the
            loss function reaches may be held by an optimizer that it or a callback can reach.

    Example:
        >>> import torch, warnings
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_untrained(model, torch.optim.SGD(model[0].parameters()), nn.MSELoss())
        >>> print(str(caught[0].message).partition(".")[0])
        6 trainable numbers are in no optimizer: 1
    """
    held = {id(p): p for p in optimizers.held_parameters(opt)}
    held |= {id(p): p for p in _frozen(model, opt, callbacks)}
    named = list(model.named_parameters())
    of_loss = list(_of_loss(loss_func))
    left = _left(named, held)
    left_of_loss = _left(of_loss, {*held, *(id(p) for _, p in left)})
    if left_of_loss:
        left_of_loss = _left(left_of_loss, _held_elsewhere(loss_func, callbacks))
    if not left and not left_of_loss:
        return
    names = [_listed([name for name, _ in left])] if left else []
    if left_of_loss:
        names += [f"the loss function's {_listed([name for name, _ in left_of_loss])}"]
    own = {id(p) for _, p in (*named, *of_loss)}
    foreign = [p for key, p in held.items() if key not in own]
    old = (
        f" The optimizer holds {len(foreign)} parameters that are neither the model's nor the loss "
        "function's: was a part replaced after it was made?"
        if foreign
        else ""
    )
    warnings.warn(
        f"{_numbers(p for _, p in (*left, *left_of_loss))} in no optimizer: {'; '.join(names)}. "
        f"No step will change them.{old} Make the optimizer of all parameters, or give it these "
        "with opt.add_param_group; if they are to stay, use requires_grad_(False).",
        stacklevel=3,
    )


def _frozen(
    model: nn.Module, opt: optimizers.Optimizers, callbacks: Iterable[Callback]
) -> Iterable[nn.Parameter]:
    for callback in callbacks:
        if None in callback.freezes.values():
            parts = parts_apart(model, opt, callback.freezes)
            for part, until in callback.freezes.items():
                yield from parts[part] if until is None else ()


def _of_loss(loss_func: Callable[..., Any]) -> Iterator[tuple[str, nn.Parameter]]:
    seen: set[int] = set()
    for path, thing in reached(loss_func):
        if isinstance(thing, nn.Module) and (thing.training or not path):
            inner = thing.named_parameters()
        else:
            inner = [("", thing)] if isinstance(thing, nn.Parameter) else []
        for name, parameter in inner:
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{path}.{name}".strip("."), parameter


def _held_elsewhere(loss_func: Callable[..., Any], callbacks: Iterable[Callback]) -> set[int]:
    """The ids of what optimizers of the user's own hold, as far as they can be reached."""
    starts: list[Any] = [loss_func]
    for callback in callbacks:
        methods = [method for method in vars(type(callback)).values() if isfunction(method)]
        starts += [callback, *methods]
    things = (thing for start in starts for _, thing in reached(start))
    return {
        id(p)
        for optimizer in things
        if isinstance(optimizer, Optimizer)
        for p in optimizers.held_parameters(optimizer)
    }


def _left(
    named: Iterable[tuple[str, nn.Parameter]], held: Container[int]
) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in named if p.requires_grad and id(p) not in held]


def _numbers(parameters: Iterable[Tensor]) -> str:
    parameters = list(parameters)
    if any(is_lazy(p) for p in parameters):
        return f"{len(parameters)} trainable parameters are"
    count = sum(p.numel() for p in parameters)
    return f"{count:,} trainable number{'s are' if count != 1 else ' is'}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

"""What the loop needs of an optimizer, or of several by name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from torch import nn
from torch.autograd import profiler
from torch.optim import Optimizer

Optimizers = Optimizer | Mapping[str, Optimizer]

_WRAP = getattr(Optimizer, "profile_hook_step", None)
_PROFILED: object = object() if _WRAP is None else _WRAP(lambda: None).__code__
"""what torch wraps around the `step` of every class of optimizers"""
_HOOKS_OF_ALL: tuple[Mapping[int, Any], ...] = tuple(
    getattr(import_module(Optimizer.__module__), f"_global_optimizer_{when}_hooks", {0: "unknown"})
    for when in ("pre", "post")
)


def by_name(opt: Optimizers) -> dict[str, Optimizer]:
    """The optimizers by name; a single one's name is empty.

    Example:
        >>> import torch
        >>> list(by_name(torch.optim.SGD([torch.zeros(1)], lr=0.1)))
        ['']
    """
    return dict(opt) if isinstance(opt, Mapping) else {"": opt}


def each(opt: Optimizers) -> list[Optimizer]:
    """The optimizers as a list.

    Example:
        >>> import torch
        >>> sgd = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> each({"generator": sgd}) == each(sgd) == [sgd]
        True
    """
    return list(by_name(opt).values())


def held_parameters(opt: Optimizers) -> list[nn.Parameter]:
    """The parameters that the optimizers hold, each once, in their order.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 3)
        >>> len(held_parameters(torch.optim.SGD(layer.parameters(), lr=0.1)))
        2
    """
    parameters: dict[int, nn.Parameter] = {}
    for optimizer in each(opt):
        for group in optimizer.param_groups:
            parameters.update((id(p), p) for p in group["params"])
    return list(parameters.values())


def with_modes(opt: Optimizers) -> list[Any]:
    """The optimizers that have ``train()`` and ``eval()``, as a module has.

    Example:
        >>> import torch
        >>> with_modes(torch.optim.SGD([torch.zeros(1)], lr=0.1))
        []
    """
    return [
        one
        for one in each(opt)
        if callable(getattr(one, "train", None)) and callable(getattr(one, "eval", None))
    ]


def may_skip(opt: Optimizers) -> bool:
    """Whether one says afterwards that it made no step, as a wrapper that scales losses may.

    Example:
        >>> import torch
        >>> may_skip(torch.optim.SGD([torch.zeros(1)], lr=0.1))
        False
    """
    return any(hasattr(one, "step_was_skipped") for one in each(opt))


def all_skipped(opt: Optimizers) -> bool:
    """Whether none of them made the step that it was just asked for.

    Example:
        >>> import torch
        >>> all_skipped(torch.optim.SGD([torch.zeros(1)], lr=0.1))
        False
    """
    return all(getattr(one, "step_was_skipped", False) for one in each(opt))


def step(opt: Optimizers) -> None:
    """Let every optimizer step.

    Torch wraps ``step`` in a label for its profiler and a search for hooks, which take 20 µs. While
    no profiler records and no hook is registered, they are left out.
    """
    if isinstance(opt, Mapping):
        for optimizer in each(opt):
            step(optimizer)
        return
    wrapped = getattr(type(opt), "step", None)
    if getattr(wrapped, "__code__", None) is not _PROFILED or _heard(opt):
        opt.step()
    else:
        cast(Any, wrapped).__wrapped__(opt)


def _heard(opt: Optimizer) -> bool:
    """Whether anything may hear that the optimizer steps, or stands around its step."""
    return (
        "step" in vars(opt)  # wrapped for this optimizer, as torch's schedulers do
        or getattr(profiler, "_is_profiler_enabled", True)
        or bool(getattr(opt, "_optimizer_step_pre_hooks", True))
        or bool(getattr(opt, "_optimizer_step_post_hooks", True))
        or any(_HOOKS_OF_ALL)
    )


def clear_gradients(opt: Optimizers) -> None:
    """What ``zero_grad()`` does; without the 15 µs of profiling hooks, where it is torch's own."""
    torchs_own = getattr(type(opt), "zero_grad", None) is Optimizer.zero_grad
    if not torchs_own and hasattr(opt, "zero_grad"):
        cast(Any, opt).zero_grad()
    elif not torchs_own and isinstance(opt, Mapping):
        for optimizer in each(opt):
            clear_gradients(optimizer)
    else:
        for group in cast(Optimizer, opt).param_groups:
            for p in group["params"]:
                p.grad = None

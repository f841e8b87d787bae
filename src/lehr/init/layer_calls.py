"""What single layers answer while their model runs, without a trace in the model."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lehr.base.hooks import hooked
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.modes import keep_modes
from lehr.base.signals import patient

Forward = Callable[[nn.Module, Any], object]
"""How a model is called with a batch."""


@interrupts_wait_at_both_ends
@contextmanager
def in_training_mode(model: nn.Module) -> Generator[None]:
    """Training mode without gradients; each module's mode and the buffers are put back after it.

    Example:
        >>> model = nn.BatchNorm1d(2).eval()
        >>> with in_training_mode(model):
        ...     _ = model(torch.ones(4, 2))
        >>> model.training, model.running_mean.tolist()
        (False, [0.0, 0.0])
    """
    with patient():
        put_back = keep_modes(model)
        buffers = [
            (module, name, buffer, buffer.clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
        ]
        try:
            with torch.no_grad():
                model.train()
                yield
        finally:
            put_back()
            for module, name, buffer, before in buffers:
                with torch.no_grad():
                    setattr(module, name, buffer.copy_(before))


def first(module: nn.Module, hook: Callable[..., None]) -> Callable[[], RemovableHandle]:
    """Registers a forward hook before all others of its module."""
    return partial(module.register_forward_hook, hook, prepend=True)


def in_call_order(layers: Mapping[str, nn.Module], run: Callable[[], object]) -> list[str]:
    """Names of the layers that answer with a tensor during ``run()``, in order of first calls.

    Example:
        >>> model = nn.ModuleDict({"last": nn.Tanh(), "first": nn.ReLU(), "unused": nn.ELU()})
        >>> x = torch.ones(2)
        >>> in_call_order(dict(model.items()), lambda: model["last"](model["first"](x)))
        ['first', 'last']
    """
    order: dict[str, None] = {}

    def note(name: str, module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor):
            order.setdefault(name)

    with hooked(first(module, partial(note, name)) for name, module in layers.items()):
        run()
    return list(order)


class Answered(BaseException):
    """Ends a run that has given what it was for; no ``except Exception`` on the way stops it."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


def first_output(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """What ``layer`` answers to its first call in ``run()``, which goes no further.

    Raises:
        ValueError: ``run`` does not call the layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> first_output(model[0], lambda: model(torch.ones(5, 2))).shape
        torch.Size([5, 3])
    """

    def stop(module: nn.Module, args: object, output: Tensor) -> NoReturn:
        raise Answered(output)

    try:
        with hooked([first(layer, stop)]):
            run()
    except Answered as answer:
        return answer.output
    todo = "Give a forward pass that calls the same layers every time."
    raise ValueError(f"run must call the layer; got no call of {type(layer).__name__}. {todo}")

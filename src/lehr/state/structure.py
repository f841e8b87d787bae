"""A module as it is: its parts, their tensors and attributes, held to be put back in place."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.errors import one_line
from lehr.state.differences import first_difference
from lehr.state.entries import modules

_REGISTRIES = [name for name, held in vars(nn.Module()).items() if isinstance(held, (dict, set))]


def keep_structure(root: nn.Module, copied: Iterable[Tensor] | None = None) -> Callable[[], None]:
    """A function that makes a module what it is now, whatever became of it.

    Every part is the same object again, of the same class and with the same attributes,
    parameters, buffers, sub-modules and hooks. What has been added is gone. A tensor that got other
    memory (a cast, another device, a lazy parameter that was made) has its old one again.

    Args:
        root: the module.
        copied: the tensors of it whose values are to be put back as well; all by default. A copy
            of each is held.

    Raises:
        RuntimeError: when called, of what could not be put back; the rest is.

    Example:
        >>> model = nn.Sequential(nn.LazyLinear(2))
        >>> put_back = keep_structure(model)
        >>> _ = model(torch.ones(1, 3)), model.append(nn.ReLU())
        >>> model[0].weight.shape, len(model)
        (torch.Size([2, 3]), 2)
        >>> put_back(); model
        Sequential(
          (0): LazyLinear(in_features=0, out_features=2, bias=True)
        )
    """
    undos = [(name, _keep_module(module)) for name, module in modules(root)]
    tensors = {id(t): (name, t) for name, t in _named_tensors(root)}
    chosen = set(tensors) if copied is None else {id(t) for t in copied}
    undos += [(name, _keep_tensor(t, key in chosen)) for key, (name, t) in tensors.items()]
    return partial(_put_back, undos)


def _put_back(undos: list[tuple[str, Callable[[], None]]]) -> None:
    failures: list[tuple[str, Exception]] = []
    for name, undo in undos:
        try:
            undo()
        except Exception as error:
            failures.append((name, error))
    if failures:
        lost = ", ".join(f"{name or 'the model'} ({one_line(error)})" for name, error in failures)
        raise RuntimeError(lost) from failures[0][1]


def _keep_module(module: nn.Module) -> Callable[[], None]:
    kind, attributes = type(module), dict(vars(module))
    registries = [(r, r.copy()) for r in map(attributes.get, _REGISTRIES) if r is not None]

    def put_back() -> None:
        if type(module) is not kind:
            module.__class__ = kind
        for name in vars(module).keys() - attributes.keys():
            del vars(module)[name]
        vars(module).update(attributes)
        for registry, items in registries:
            registry.clear()
            registry.update(items)

    return put_back


def _keep_tensor(tensor: Tensor, copied: bool) -> Callable[[], None]:
    kind, memory = type(tensor), tensor.data
    lazy = is_lazy(tensor)
    values = memory.clone() if copied and not lazy else None

    def put_back() -> None:
        if lazy and type(tensor) is not kind:  # it was made
            tensor.grad = None
            tensor.data = memory
            tensor.__class__ = kind
        elif not lazy and _place(tensor) != _place(memory):
            tensor.data = memory
        if values is not None:
            _write(memory, values)

    return put_back


@torch.no_grad()
def _write(memory: Tensor, values: Tensor) -> None:
    try:
        memory.copy_(values)
    except RuntimeError:  # several of an expanded tensor are one number: whose, if it has changed?
        if first_difference(memory, values) is not None:
            raise


def _place(t: Tensor) -> tuple[Any, ...]:
    """Where the values of a tensor are, and how they are read."""
    whole = t.layout == torch.strided and t.device.type != "meta"
    return t.shape, t.dtype, t.device, t.layout, whole and (t.stride(), t.data_ptr())


def _named_tensors(root: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from root.named_parameters(remove_duplicate=False)
    yield from root.named_buffers(remove_duplicate=False)

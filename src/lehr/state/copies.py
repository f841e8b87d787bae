"""Deep copies of models, also of those with tensors in them that ``copy.deepcopy`` refuses."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.base.nested import tensors_in
from lehr.state.snapshot import independent

T = TypeVar("T")


def deep_copy(thing: T, *holders: Any, shared: Mapping[int, Any] | None = None) -> T:
    """What ``copy.deepcopy`` gives, of more tensors than it knows.

    An output that a module keeps, and a weight that is computed from others (as by the older
    ``weight_norm``), are copied without the graph that they come from.

    Args:
        thing: a module, or something that holds modules.
        holders: the modules in it, if it is none itself.
        shared: what takes the place of an object, by its id.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> layer.last = layer(torch.ones(1, 2))
        >>> deep_copy(layer).last.requires_grad
        False
    """
    memo = dict(shared or {})
    modules = [holder for holder in (thing, *holders) if isinstance(holder, nn.Module)]
    for module in modules:
        odd = (tensor for tensor in _tensors_of(module) if not _is_copied(tensor))
        memo |= {id(tensor): independent(tensor) for tensor in odd}
    for module in modules:
        if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
            with torch.no_grad():  # or its parameters would be results of a computation
                other = copy.deepcopy(module, memo)  # which does not note what became of them
            for p, its_copy in zip(module.parameters(), other.parameters(), strict=True):
                memo[id(p)] = its_copy.requires_grad_(p.requires_grad)
    return copy.deepcopy(thing, memo)


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    yield from module.buffers()
    for part in module.modules():
        for value in vars(part).values():
            yield from tensors_in(value)


def _is_copied(tensor: Tensor) -> bool:
    """Whether ``copy.deepcopy`` can copy it, or need not know how."""
    plain = tensor.layout in (torch.strided, torch.sparse_coo)
    return tensor.is_leaf and plain and not is_lazy(tensor)

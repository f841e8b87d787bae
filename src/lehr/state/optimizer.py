"""An optimizer's state, put back without a change of its tensors' identity or dtype."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from lehr.state.differences import first_difference
from lehr.types import is_mapping, is_sequence


def is_optimizer(value: Any) -> bool:
    """Whether it is an optimizer, or has groups of parameters though it is none of torch's.

    Example:
        >>> is_optimizer(torch.optim.SGD([torch.zeros(1)], lr=0.1)), is_optimizer(torch.nn.ReLU())
        (True, False)
    """
    own: dict[str, Any] = getattr(value, "__dict__", {})
    return "param_groups" in own or hasattr(cast("object", value).__class__, "param_groups")


def load_in_place(opt: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load a state into an optimizer, which keeps its groups and the tensors in them.

    An ``lr`` in a tensor stays the same tensor, for other code may hold it. The state has the
    dtypes that were saved, also where torch would cast them to the parameter's.

    Example:
        >>> opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.1))
        >>> saved, lr = opt.state_dict(), opt.param_groups[0]["lr"]
        >>> load_in_place(opt, saved); opt.param_groups[0]["lr"] is lr
        True
    """
    groups = list(opt.param_groups)
    opt.load_state_dict(dict(saved))  # which makes new groups, with new tensors
    _undo_casts(opt.state_dict(), saved)
    written: set[int] = set()
    for group, loaded in zip(groups, list(opt.param_groups), strict=True):
        values = {key: _into(group.get(key), value, written) for key, value in loaded.items()}
        if group is not loaded:
            group.clear()
            group.update(values)
    opt.param_groups[:] = groups


def keep_places(opt: Optimizer) -> Callable[[], None]:
    """A function that gives an optimizer's state the tensors that it has now.

    Nothing is copied: what writes into these tensors is not undone, but what moves them is.

    Example:
        >>> opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> keep_places(opt)()
    """
    states = [(state, dict(state)) for state in opt.state.values()]

    def put_back() -> None:
        for state, held in states:
            state.clear()
            state.update(held)

    return put_back


def _undo_casts(loaded: Any, saved: Any) -> Any:
    """``loaded`` in the dtypes of ``saved``, and on its own devices; containers stay the same.

    They are the optimizer's own, so `lehr.base.nested`, which makes new ones, is of no use here.
    """
    if is_mapping(loaded) and is_mapping(saved):
        for key in loaded.keys() & saved.keys():
            if (value := _undo_casts(loaded[key], saved[key])) is not loaded[key]:
                cast("dict[str, Any]", loaded)[key] = value
        return loaded
    if is_sequence(loaded) and is_sequence(saved) and len(loaded) == len(saved):
        values = [_undo_casts(a, b) for a, b in zip(loaded, saved, strict=True)]
        if isinstance(loaded, tuple):
            return tuple(values)
        loaded[:] = values
        return loaded
    if isinstance(loaded, Tensor) and isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    return saved if isinstance(saved, str) else loaded  # torch loads a generator's repr for it


def _into(old: Any, new: Any, written: set[int]) -> Any:
    """``new``, in the tensors of ``old`` where they fit; a list, as of parameters, stays."""
    if old is new:
        return new
    if is_sequence(new) and is_sequence(old) and isinstance(new, tuple) and len(old) == len(new):
        return tuple(_into(a, b, written) for a, b in zip(old, new, strict=True))
    if not isinstance(new, Tensor) or not isinstance(old, Tensor):
        return new
    if old.shape != new.shape or old.dtype != new.dtype:
        return new
    if id(old) in written:  # shared: one tensor cannot hold two values
        return old if first_difference(old, new) is None else new
    with torch.no_grad():
        old.copy_(new)
    written.add(id(old))
    return old

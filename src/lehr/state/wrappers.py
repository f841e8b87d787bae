"""What stands around a model without being part of it: torch.compile, and torch's parallel ones."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import cast

from torch import nn

from lehr.base.interrupts import interrupts_wait_at_both_ends

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def bare(model: nn.Module) -> nn.Module:
    """The model inside all its wrappers, or the model itself.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> bare(nn.DataParallel(layer)) is layer
        True
    """
    while name := _inner(model):
        model = model.get_submodule(name)
    return model


def bare_names(model: nn.Module) -> Callable[[str], str]:
    """How the path of a module, parameter or buffer reads as if no part of the model were wrapped.

    Example:
        >>> name = bare_names(nn.Sequential(nn.DataParallel(nn.Linear(1, 1))))
        >>> name("0.module.weight")
        '0.weight'
    """
    if not isinstance(model, nn.Module):  # something with a module's methods: nothing wraps it
        return lambda path: path
    parts = cast("Iterator[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False))
    paths = [f"{path}.{name}".lstrip(".") for path, part in parts if (name := _inner(part))]
    wrapped = sorted(paths, key=len, reverse=True)  # the innermost first

    def name_of(path: str) -> str:
        for inside in wrapped:
            if path == inside or path.startswith(f"{inside}."):
                path = (inside.rpartition(".")[0] + path[len(inside) :]).lstrip(".")
        return path

    return name_of


@interrupts_wait_at_both_ends
@contextmanager
def without_wrappers(model: nn.Module) -> Generator[None]:
    """A scope in which no part of a model is wrapped.

    Example:
        >>> model = nn.Sequential(nn.DataParallel(nn.Linear(1, 1)))
        >>> with without_wrappers(model):
        ...     print(model[0])
        Linear(in_features=1, out_features=1, bias=True)
    """
    children = [(part, *child) for part in list(model.modules()) for child in part.named_children()]
    wrapped = [(part, name, child) for part, name, child in children if _inner(child)]
    for part, name, child in wrapped:
        setattr(part, name, bare(child))
    try:
        yield
    finally:
        for part, name, child in wrapped:
            setattr(part, name, child)


def _inner(module: nn.Module) -> str | None:
    """Under which name a wrapper holds what it wraps; None of any other module."""
    if not isinstance(module, nn.Module):
        return None
    if "_orig_mod" in dict(module.named_children()):  # torch.compile's
        return "_orig_mod"
    return "module" if isinstance(module, _PARALLEL) else None

"""Models that are built without values: they get them module by module, each process its own."""

from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from lehr.base.sharing import own_part
from lehr.state.entries import modules

Init = Callable[[Any], object]
"""Gives a module's own parameters and buffers their first values, in place"""


def is_meta(model: nn.Module) -> bool:
    """Whether a model has no values yet: it was built on the meta device.

    Raises:
        ValueError: a part of it has.

    Example:
        >>> with torch.device("meta"):
        ...     layer = nn.Linear(2, 3)
        >>> is_meta(layer), is_meta(nn.Linear(2, 3))
        (True, False)
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    there = [name for name, tensor in tensors if not tensor.is_meta]
    if there and len(there) < len(tensors):
        raise ValueError(
            f"a part of the model is on the meta device, and a part, such as {there[0]}, is not. "
            "Build all of it within torch.device('meta'), or none."
        )
    return bool(tensors) and not there


def without_entry(model: nn.Module) -> set[nn.Module]:
    """The modules with buffers that the model's ``state_dict`` lacks, so no file has their values.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> layer.register_buffer("angles", torch.zeros(2), persistent=False)
        >>> without_entry(nn.Sequential(layer, nn.ReLU()))
        {Linear(in_features=2, out_features=3, bias=True)}
    """
    names = model.state_dict().keys()
    paths = [path for path, _ in model.named_buffers() if path not in names]
    return {model.get_submodule(path.rpartition(".")[0]) for path in paths}


def check_init(
    model: nn.Module, init: Init | None, among: Container[nn.Module] | None = None
) -> None:
    """See that every module with tensors of its own can be given values.

    Args:
        model: on the meta device.
        init: of a module; None calls its ``reset_parameters()``.
        among: those that get values in this way; None for all.

    Raises:
        ValueError: one cannot.

    Example:
        >>> check_init(nn.Linear(2, 3), None)
    """
    unknown = [
        f"{name or 'the model'} ({type(module).__name__})"
        for name, module in modules(model)
        if init is None
        and _own(module)
        and not hasattr(module, "reset_parameters")
        and (among is None or module in among)
    ]
    if unknown:
        raise ValueError(
            f"the model was built on the meta device, and it cannot be told how "
            f"{', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''} is to be initialized: "
            "there is no method reset_parameters(). Write one, or give Distributed(init=…): a "
            "function that is called with each module."
        )


def materialize(
    model: nn.Module,
    init: Init | None,
    device: torch.device,
    among: Container[nn.Module] | None = None,
) -> None:
    """Give a model on the meta device its first values.

    One module after the other is initialized as a whole on the CPU, in the order of
    ``model.modules()``, which is that of construction where a class makes its layers in the order
    of its attributes; then each process keeps its part. So all processes draw the same numbers, and
    none has more than one module whole at a time.

    Args:
        model: on the meta device; its parameters may be sharded.
        init: of a module; None calls its ``reset_parameters()``.
        device: where the model is to be.
        among: the modules that get values; the others have some that mean nothing. None for all.

    Raises:
        ValueError: ``init`` has put another tensor in the place of one.

    Example:
        >>> with torch.device("meta"):
        ...     layer = nn.Linear(2, 3)
        >>> materialize(layer, None, torch.device("cpu"))
        >>> bool(layer.weight.abs().max() > 0)
        True
    """
    ties = _ties(model)
    model.to_empty(device=device)
    for (first, name), *others in ties:
        for module, other in others:  # `to_empty` lets each have a tensor of its own
            _put(module, {other: getattr(first, name)})
    done: set[int] = set()
    for _, module in modules(model):
        if (own := _own(module)) and (among is None or module in among):
            _initialize(module, own, init, done)


def _ties(model: nn.Module) -> list[list[tuple[nn.Module, str]]]:
    """Where each tensor is that is not sharded, and is in several places."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for _, module in modules(model):
        for name, tensor in _own(module).items():
            if not isinstance(tensor, DTensor):  # FSDP2 sees to those
                places.setdefault(id(tensor), []).append((module, name))
    return [those for those in places.values() if len(those) > 1]


def _own(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that are the module's, and not those of one inside."""
    parameters, buffers = module.named_parameters, module.named_buffers
    return {
        **dict(parameters(recurse=False, remove_duplicate=False)),
        **dict(buffers(recurse=False, remove_duplicate=False)),
    }


def _initialize(
    module: nn.Module, own: dict[str, Tensor], init: Init | None, done: set[int]
) -> None:
    whole = {name: _like(tensor) for name, tensor in own.items()}
    _put(module, whole)
    try:
        with torch.no_grad():
            (_reset if init is None else init)(module)
        after = _own(module)
    finally:
        _put(module, own)
    for name, tensor in own.items():
        if after.get(name) is not whole[name]:
            raise ValueError(
                f"init has replaced {name} of a {type(module).__name__} by another tensor. Change "
                "it in place, e.g. with nn.init.normal_."
            )
        if id(tensor) not in done:  # one that is shared has the values of its first module
            done.add(id(tensor))
            own_part(tensor.detach()).copy_(own_part(_parted(whole[name].detach(), tensor)))


def _reset(module: Any) -> None:
    module.reset_parameters()


def _like(tensor: Tensor) -> Tensor:
    made = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _put(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        setattr(module, name, tensor)


def _parted(whole: Tensor, tensor: Tensor) -> Tensor:
    if not isinstance(tensor, DTensor):
        return whole
    there = whole.to(tensor.device)
    return distribute_tensor(there, tensor.device_mesh, tensor.placements, src_data_rank=None)

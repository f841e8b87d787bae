"""A forward pass of which nothing is kept: it is computed again for the backward pass."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import checkpoint

from lehr.base.interrupts import interrupts_wait_at_both_ends


def recomputed(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What ``forward`` returns; its activations are let go of, and made again for the gradient.

    The second time it draws the same random numbers, with the same autocast and the same buffers.
    What it does to buffers, such as the statistics of BatchNorm, counts once. So the result, the
    gradient and the buffers have the same bits as without. Where no gradient is taken, it is plain
    ``forward``.

    Args:
        module: whose buffers ``forward`` may change.
        forward: computes the result.
        *args: what it is called with.
        **kwargs: likewise, by name.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> x = torch.ones(3, 2)
        >>> out = recomputed(layer, layer.forward, x)
        >>> out.equal(layer(x)), out.requires_grad
        (True, True)
    """
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    contexts = partial(_contexts, module)
    function = partial(forward, **kwargs)  # whatever names they have
    torchs = cast("Any", checkpoint)
    return torchs.checkpoint(function, *args, use_reentrant=False, context_fn=contexts)


@interrupts_wait_at_both_ends
@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Generator[None]:
    """A scope in which a module computes something else; its hooks are called as before.

    Args:
        module: the module.
        forward: called instead of its ``forward``.

    Example:
        >>> layer = nn.Identity()
        >>> with forward_replaced(layer, abs):
        ...     layer(-2)
        2
        >>> layer(-2)
        -2
    """
    attributes = vars(module)  # a compiled module would set it on the one that it compiles
    before = {name: attributes[name] for name in ("forward",) if name in attributes}
    attributes["forward"] = forward
    try:
        yield
    finally:
        attributes.pop("forward", None)
        attributes.update(before)


def _contexts(module: nn.Module) -> tuple[Any, Any]:
    """The scopes of the first pass and of the second."""
    # Whether a pass will change a buffer cannot be told: BatchNorm does not even count its version.
    buffers = [
        (part, name, buffer.detach().clone())
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    return nullcontext(), _as_before(buffers)


@interrupts_wait_at_both_ends
@contextmanager
def _as_before(buffers: list[tuple[nn.Module, str, Tensor]]) -> Generator[None]:
    """A scope with the buffers of before the first pass; what is done to them is forgotten."""
    now = [(part, name, getattr(part, name)) for part, name, _ in buffers]
    for part, name, values in buffers:
        setattr(part, name, values.clone())  # there may be a third pass
    try:
        yield
    finally:
        for part, name, buffer in now:
            setattr(part, name, buffer)

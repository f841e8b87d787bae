"""The version counters of tensors, by which autograd knows that what it keeps was written to."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.autograd import grad_mode
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lehr.base.interrupts import interrupts_wait_at_both_ends

_LAZY = (UninitializedBuffer, UninitializedParameter)
_KEEPS = "_unsafe_preserve_version_counter"  # torch's own, and not promised


@interrupts_wait_at_both_ends
@contextmanager
def versions_kept(*modules: Any) -> Generator[None]:
    """A scope that changes parameters and buffers and puts the same values back.

    A graph that was made before can still be taken backward: it finds what it keeps. Without this,
    torch would see that there were changes, and refuse. A torch without the function that this
    calls refuses, too.

    Args:
        modules: whose tensors; what is no module has none.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> loss = model(torch.ones(4, 2)).sum()
        >>> with versions_kept(model), torch.no_grad():
        ...     _ = model[1].weight.mul_(2).div_(2)
        >>> loss.backward()
    """
    keep: Any = getattr(grad_mode, _KEEPS, nullcontext)
    with ExitStack() as stack:
        for module in modules:
            if isinstance(module, nn.Module):
                for tensor in (*module.parameters(), *module.buffers()):
                    if not isinstance(tensor, _LAZY) and not tensor.is_inference():
                        stack.enter_context(keep(tensor))
        yield

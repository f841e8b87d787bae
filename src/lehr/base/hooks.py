"""Hooks that are there for the length of a scope."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.signals import patient


@interrupts_wait_at_both_ends
@contextmanager
def hooked(register: Iterable[Callable[[], RemovableHandle]]) -> Generator[None]:
    """A scope in which hooks are registered; no interrupt leaves one behind.

    Args:
        register: functions that register a hook each, in their order.

    Example:
        >>> from functools import partial
        >>> from torch import nn
        >>> layer = nn.ReLU()
        >>> with hooked([partial(layer.register_forward_hook, print)]):
        ...     len(layer._forward_hooks)
        1
        >>> len(layer._forward_hooks)
        0
    """
    with patient():
        handles: list[RemovableHandle] = []
        try:
            handles.extend(one() for one in register)
            yield
        finally:
            for handle in handles:
                handle.remove()

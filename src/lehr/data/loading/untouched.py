"""A scope in which a loader may be read without anybody noticing afterwards."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.state.streams import forked


@interrupts_wait_at_both_ends
@contextmanager
def untouched(loader: Any) -> Generator[None]:
    """A scope that puts back the global generators and those that a loader or its parts own.

    Args:
        loader: perhaps a torch DataLoader, whose ``generator``, and its sampler's, are drawn from.

    Example:
        >>> generator = torch.Generator().manual_seed(1)
        >>> dl = torch.utils.data.DataLoader([1, 2, 3], shuffle=True, generator=generator)
        >>> with untouched(dl):
        ...     _ = list(dl)
        >>> bool((generator.get_state() == torch.Generator().manual_seed(1).get_state()).all())
        True
    """
    sampler = getattr(loader, "sampler", None)
    owners = (
        loader,
        sampler,
        getattr(loader, "batch_sampler", None),
        getattr(sampler, "indices", None),
    )
    generators = (getattr(owner, "generator", None) for owner in owners)
    before = [(g, g.get_state()) for g in generators if isinstance(g, torch.Generator)]
    with forked():
        try:
            yield
        finally:
            for generator, state in before:
                generator.set_state(state)

"""A probe: try anything, leave no trace."""

from collections.abc import Generator
from contextlib import contextmanager

from lehr.state.snapshot import Entries, capture, restore


@contextmanager
def probe(entries: Entries) -> Generator[None]:
    """A scope after which every state entry is bit for bit what it was, whatever happened inside.

    Args:
        entries: what to protect, by name; `Learner.probe` passes everything a Learner has.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(1, 1)
        >>> before = layer.weight.item()
        >>> with probe({"model": layer}):
        ...     _ = torch.nn.init.zeros_(layer.weight)
        >>> layer.weight.item() == before
        True
    """
    snapshot = capture(entries)
    try:
        yield
    finally:
        restore(entries, snapshot)

"""torch's loader whose workers stay: opened again, it draws what it drew when it was new."""

from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from lehr.types import Stateful


def draw_as_at_first(loader: Any) -> None:
    """Draw the number that torch's loader would draw now if its workers were not there already.

    A new iterator of it first draws a seed for its workers, then, in the sampler, the order. One
    that is kept from pass to pass draws the order alone. So the order would depend on whether
    anybody had read the loader before: another training, a look at a batch, the run that stopped.

    Args:
        loader: any; nothing is drawn unless it is such a loader of torch's.

    Example:
        >>> before = torch.get_rng_state()
        >>> draw_as_at_first(DataLoader([1, 2])); bool((before == torch.get_rng_state()).all())
        True
    """
    if not isinstance(loader, DataLoader) or isinstance(loader, Stateful):
        return
    kept = cast(Any, loader)
    if kept.persistent_workers and getattr(kept, "_iterator", None) is not None:
        torch.empty((), dtype=torch.int64).random_(generator=kept.generator)

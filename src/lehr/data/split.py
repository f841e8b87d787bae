"""Dividing data into a training and a validation part."""

from typing import Any

from torch import Tensor

from lehr.errors import did_you_mean
from lehr.state.streams import shuffled


def random_split(n: int, valid_share: float, seed: int) -> tuple[Tensor, Tensor]:
    """The indices of a random training and validation part, decided by ``seed`` alone.

    Args:
        n: number of items.
        valid_share: share of validation, in (0, 1); rounded to whole items.
        seed: any integer.

    Returns:
        Sorted int64 indices ``(train, valid)``, together each of ``range(n)`` once.

    Raises:
        ValueError: the share leaves one of the parts empty.

    Example:
        >>> train, valid = random_split(10, 0.3, seed=0)
        >>> len(train), len(valid)
        (7, 3)
    """
    n_valid = round(n * valid_share)
    if not 0 < n_valid < n:
        raise ValueError(
            f"valid_share must leave items to both parts; got {valid_share}, which makes "
            f"{n_valid} of {n} items. Give a share between 0 and 1, e.g. 0.2."
        )
    order = shuffled(n, seed)
    return order[n_valid:].sort().values, order[:n_valid].sort().values


def check_split(split: Any, preparation: Any, allowed: tuple[str, ...]) -> str:
    """``split`` if it can be had; ``"all"`` only where nothing has to be worked out from a part.

    Args:
        split: what the user wants.
        preparation: an earlier training's, or None.
        allowed: what there is.

    Raises:
        ValueError: it is none of these, or ``"all"`` without a preparation.

    Example:
        >>> check_split("valid", None, ("valid", "all"))
        'valid'
    """
    if not isinstance(split, str) or split not in allowed:
        raise ValueError(
            f"split must be one of {', '.join(allowed)}; got {split!r}. "
            f"{did_you_mean(str(split), allowed)}"
        )
    if split == "all" and preparation is None:
        raise ValueError(
            "split='all' divides nothing, to evaluate what was trained before, and needs its "
            "preparation; got preparation=None. Give preparation=, or leave split= out to train."
        )
    return split

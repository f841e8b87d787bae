"""Whether something can be read as batches, once an epoch; and what to do if it cannot."""

from typing import Any, cast

from torch import Tensor
from torch.utils.data import Dataset

from lehr.base.arrays import is_numpy
from lehr.data.loading.endless import is_endless
from lehr.types import is_mapping


def check_readable(loader: Any, name: str) -> None:
    """Refuse what no epochs can be read from.

    Args:
        loader: what was given.
        name: what messages call it.

    Raises:
        TypeError: it cannot be iterated, or only once, or what it yields are no batches.

    Example:
        >>> check_readable([1, 2], "train_dl")
    """
    cls = cast(Any, type(loader))
    kind: str = cls.__name__
    if hasattr(cls, "__next__"):
        again = "batches()"
        if is_endless(loader):
            again = f"itertools.{kind}(batches), and train with fit(steps=…)"
        raise TypeError(
            f"{name} must be readable once an epoch; got {kind}, which can be read only once. "
            f"Pass a function that makes a fresh one, e.g. lambda: {again}."
        )
    wanted = f"{name} must be an iterable of batches; got {kind}"
    if isinstance(loader, Tensor) or is_numpy(loader):
        raise TypeError(
            f"{wanted}, whose rows would be taken for batches. Pass a list of batches, [(xb, yb)], "
            "or make a bunch of whole arrays with lehr.data.arrays(x, y)."
        )
    if _holds_loaders(loader):
        raise TypeError(
            f"{wanted} of {len(loader)} loaders. Say how they are read together, with a function "
            "that makes an iterator of batches, e.g. lambda: zip(first, second), and give the "
            "Learner a split_batch= for such a batch."
        )
    if is_mapping(loader) or isinstance(loader, str) or not _can_be_read(loader):
        raise TypeError(
            f"{wanted}. Pass a DataLoader (a dataset needs one), a list of batches, or a function "
            "that makes an iterator of them."
        )


def _can_be_read(loader: Any) -> bool:
    return hasattr(cast(Any, type(loader)), "__iter__") or callable(loader)


def _holds_loaders(loader: Any) -> bool:
    first: Any = next(iter(loader.values()), None) if is_mapping(loader) else None
    return hasattr(first, "__iter__") and (hasattr(first, "dataset") or isinstance(first, Dataset))

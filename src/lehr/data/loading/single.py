"""Loaders that give items where batches are wanted: a data set that nobody has wrapped."""

from typing import Any, cast

from torch import Tensor
from torch.utils.data import Dataset

from lehr.base.nested import describe
from lehr.types import is_mapping, is_sequence

WRAP = "torch.utils.data.DataLoader({}, batch_size=64)"


def about_items(loader: Any, name: str, batch: Any) -> str | None:
    """What there is to say if a data set, or a loader without batches, yields single items.

    An item is known by a part that is one number or one text: a batch has one for each item.

    Args:
        loader: what is read; of a loader that makes batches nothing is said.
        name: what messages call it.
        batch: the first that it gave.

    Example:
        >>> class Items(Dataset):
        ...     pass
        >>> "batch_size=64" in about_items(Items(), "train_dl", ("an image", 3))
        True
        >>> about_items([("an image", 3)], "train_dl", ("an image", 3)) is None
        True
    """
    bare, kind = isinstance(loader, Dataset), cast(Any, type(loader)).__name__
    unbatched = hasattr(loader, "dataset") and getattr(loader, "batch_size", 1) is None
    if not (bare or (unbatched and getattr(loader, "batch_sampler", 1) is None)):
        return None
    if not _is_item(batch):
        return None
    kind += "" if bare else " with batch_size=None"
    return (
        f"{name} is a {kind}, and yields single items, such as {describe(batch)}: every item would "
        "be a batch, and a step. Wrap the data set: "
        f"{WRAP.format('dataset')}. If these are batches, let it yield no bare numbers or texts."
    )


def _is_item(batch: Any) -> bool:
    if is_mapping(batch):
        return any(_is_single(value) for value in batch.values())
    if is_sequence(batch) and len(batch) > 1:
        return any(_is_single(value) for value in batch)
    return False


def _is_single(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, (int, float, str, bytes)) and not isinstance(value, bool)

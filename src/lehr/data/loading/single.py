"""Loaders that give items where batches are wanted: a data set that nobody has wrapped."""

from typing import Any, cast

from torch import Tensor
from torch.utils.data import Dataset

from lehr.base.nested import describe, tensors_in
from lehr.types import TARGETS, is_mapping, is_sequence

WRAP = "torch.utils.data.DataLoader({}, batch_size=64)"


def about_items(loader: Any, name: str, batch: Any) -> str | None:
    """What there is to say if a data set, or a loader without batches, yields single items.

    An item of a data set is known by a part that is one number or one text, for a batch has one for
    each item; and by a pair whose parts differ in length. Anything else may give batches that hold
    such parts. There, an item is known by its target alone: one number, where the object can be
    indexed as data sets can, and is no list; else a tensor without dimensions, where no part has
    more than one.

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
    kind = cast(Any, type(loader))
    if hasattr(loader, "dataset"):
        unbatched = getattr(loader, "batch_size", 1) is None
        unbatched = unbatched and getattr(loader, "batch_sampler", 1) is None
        if not unbatched or not _is_item(batch):
            return None
        what = f"{name} is a {kind.__name__} with batch_size=None, and"
    elif isinstance(loader, Dataset):
        if not _is_item(batch):
            return None
        what = f"{name} is a {kind.__name__}, and"
    else:
        indexed = hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
        indexed = indexed and not is_sequence(loader)
        if not _has_single_target(batch, indexed=indexed):
            return None
        what = f"{name} is a {kind.__name__}, and" if indexed else name
    return (
        f"{what} yields single items, such as {describe(batch)}: every item would "
        "be a batch, and a step. Wrap the data set: "
        f"{WRAP.format('dataset')}. If these are batches, let it yield no bare numbers or texts."
    )


def _is_item(batch: Any) -> bool:
    if is_mapping(batch):
        return any(_is_single(value) for value in batch.values())
    if not is_sequence(batch) or len(batch) < 2:
        return False
    lengths = {len(part) for part in batch if isinstance(part, Tensor) and part.ndim}
    return any(_is_single(value) for value in batch) or (len(batch) == 2 and len(lengths) == 2)


def _has_single_target(batch: Any, *, indexed: bool) -> bool:
    if is_mapping(batch):
        targets = [batch[key] for key in set(batch.keys()).intersection(TARGETS)]
    else:
        targets = [batch[1]] if is_sequence(batch) and len(batch) == 2 else []
    if indexed:
        return any(_is_single(target) for target in targets)
    bare = any(isinstance(target, Tensor) and not target.ndim for target in targets)
    shapes = [tensor.ndim for tensor in tensors_in(batch)]
    return bare and max(shapes) == 1


def _is_single(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, (int, float, str, bytes)) and not isinstance(value, bool)

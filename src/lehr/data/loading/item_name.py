"""What to call an item of a loader before a reader."""

from typing import Any

from lehr.data.loading.loader import DataLoader
from lehr.data.loading.sampler import Sampler


def item_name(loader: Any, i: int) -> str:
    """The name of the item that a loader gives as number ``i``, from 0.

    That is what the ``name`` of its dataset says, such as a file or a line of a table, if the
    loader gives the items in the order of the dataset; else the number.

    Example:
        >>> from lehr.data import Dataset
        >>> dataset = Dataset([1.0, 2.0], [0, 1], names="people.csv:{}".format)
        >>> item_name(DataLoader(dataset), 1), item_name(DataLoader(dataset, shuffle=True), 1)
        ('people.csv:1', 'item 1')
    """
    if not isinstance(loader, DataLoader) or not isinstance(loader.sampler, Sampler):
        return f"item {i}"
    name = getattr(loader.dataset, "name", None)
    return str(name(i)) if callable(name) and not loader.sampler.shuffle else f"item {i}"

"""The training and the validation data of one task, together."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from lehr.data.loading.loader import DataLoader
from lehr.data.preparation import Preparation
from lehr.data.show import clipped, show_batch
from lehr.errors import positive_int


class DataBunch:
    """Holds the training loader, the validation loader and the number of classes.

    Args:
        train_dl: any iterable of batches, or a function that returns an iterator of them.
        valid_dl: the same, or a dict of several by name; None trains without validation.
        c: number of classes, from which you can build the model.
        preparation: what was done to the raw items, so that it can be done to new ones.

    Raises:
        ValueError: ``c`` is below 1.
        TypeError: ``c`` is no int.

    Example:
        >>> bunch = DataBunch([1, 2, 3], [4], c=10)
        >>> bunch
        DataBunch(train: 3 batches, valid: 1 batches, c=10)
    """

    def __init__(
        self,
        train_dl: Any,
        valid_dl: Any = None,
        c: int | None = None,
        *,
        preparation: Preparation | None = None,
    ) -> None:
        self.train_dl = train_dl
        self.valid_dl = valid_dl
        self.c = None if c is None else positive_int("c", c)
        self.preparation = preparation

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, by label; None if there are none."""
        return None if self.preparation is None else self.preparation.classes

    @property
    def train_ds(self) -> Any:
        """The training loader's own dataset object."""
        return _dataset_of(self.train_dl, "train_dl")

    @property
    def valid_ds(self) -> Any:
        """The validation loader's dataset; a dict of them if there are several loaders."""
        if isinstance(self.valid_dl, Mapping):
            loaders = cast(Mapping[str, Any], self.valid_dl)
            return {name: _dataset_of(dl, f"valid_dl[{name!r}]") for name, dl in loaders.items()}
        return _dataset_of(self.valid_dl, "valid_dl")

    def show_batch(self, items: int = 16, *, ax: Any = None) -> Any:
        """Draws the first training batch as the model will get it, augmented, with its labels.

        Reading it changes no loader and no global generator.

        Args:
            items: how many at most.
            ax: matplotlib axes to draw into; by default those of a new figure.

        Returns:
            The matplotlib figure.
        """
        return show_batch(self.train_dl, self.preparation, items, ax=ax)

    def __repr__(self) -> str:
        valid = self.valid_dl
        if isinstance(valid, Mapping):
            loaders = cast(Mapping[str, Any], valid)
            validation = ", ".join(f"valid {name}: {_size(dl)}" for name, dl in loaders.items())
        else:
            validation = "no validation" if valid is None else f"valid: {_size(valid)}"
        return f"DataBunch(train: {_size(self.train_dl)}, {validation}, c={self.c})"

    def _repr_html_(self) -> str:
        from lehr.base.rows import markup

        several = isinstance(self.valid_dl, Mapping)
        valid = cast(Mapping[str, Any], self.valid_dl if several else {"": self.valid_dl})
        named = {f"validation {name}".strip(): loader for name, loader in valid.items()}
        rows = [
            [what, _size(dl), _items(dl)]
            for what, dl in {"training": self.train_dl, **named}.items()
            if dl is not None
        ]
        rows += [["classes", str(self.c), clipped(", ".join(self.classes or ()), 300)]] * bool(
            self.c
        )
        return markup(["DataBunch", "", ""], rows)


def _dataset_of(loader: Any, name: str) -> Any:
    if not hasattr(loader, "dataset"):
        raise AttributeError(
            f"{name} has no dataset: it is {type(loader).__name__}. Only loaders that keep their "
            "dataset in an attribute `dataset` have one."
        )
    return loader.dataset


def _size(loader: Any) -> str:
    try:
        return f"{len(loader)} batches"
    except (TypeError, NotImplementedError):
        return "length unknown"


def _items(loader: Any) -> str:
    try:
        return f"{len(loader.dataset):,} items"
    except (TypeError, AttributeError, NotImplementedError):
        return ""


def get_dls(
    train_ds: Any,
    valid_ds: Any,
    batch_size: int = 64,
    *,
    drop_last: bool = False,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    seed: int | None = None,
    num_workers: int = 0,
    item_seeds: bool = False,
) -> tuple[DataLoader, DataLoader]:
    """Make two loaders: training shuffled, validation in order with twice the batch size.

    Validation keeps no gradients, so twice as many items fit in memory. It never drops a batch.

    Args:
        train_ds: dataset to train on.
        valid_ds: dataset to validate on.
        batch_size: of training.
        drop_last: leave out a last training batch that is not full.
        collate_fn: see `DataLoader`.
        seed: see `DataLoader`.
        num_workers: see `DataLoader`.
        item_seeds: see `DataLoader`.

    Example:
        >>> import torch
        >>> from lehr.data import Dataset
        >>> ds = Dataset(torch.zeros(1000, 4), torch.zeros(1000))
        >>> train_dl, valid_dl = get_dls(ds, ds, 64)
        >>> len(train_dl), len(valid_dl)
        (16, 8)
    """
    batch_size = positive_int("batch_size", batch_size)

    def loader(dataset: Any, size: int, *, shuffle: bool, drop: bool) -> DataLoader:
        return DataLoader(
            dataset,
            size,
            shuffle=shuffle,
            drop_last=drop,
            collate_fn=collate_fn,
            seed=seed,
            num_workers=num_workers,
            item_seeds=item_seeds,
        )

    return (
        loader(train_ds, batch_size, shuffle=True, drop=drop_last),
        loader(valid_ds, 2 * batch_size, shuffle=False, drop=False),
    )

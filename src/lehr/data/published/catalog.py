"""Any data by its name or its path."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lehr.base.paths import path_of
from lehr.data.bunch import DataBunch
from lehr.data.images.load import image_folder
from lehr.data.published.cifar10 import cifar10
from lehr.data.published.digits import digits
from lehr.data.published.mnist import fashion_mnist, mnist
from lehr.data.published.options import refuse_unknown
from lehr.errors import did_you_mean

SOURCES: dict[str, Callable[..., DataBunch]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}
"""The sets that can be asked for by name."""


def open_data(source: str | Path, batch_size: int = 64, **options: Any) -> DataBunch:
    """Data by name or path, ready to train on.

    A name of `SOURCES` comes first (write ``./digits`` for a folder of that name). A folder or a
    ``.zip`` holds images, a ``.csv`` or ``.tsv`` a table, an ``.npz`` arrays.

    Args:
        source: the name or path.
        batch_size: of training.
        **options: for what reads it: the function of that name in `lehr.data`, `image_folder`,
            `lehr.data.tables.load.table` or `lehr.data.array_sets.load.arrays_file`.

    Raises:
        ValueError: there is no such source, or it is of a kind that cannot be read.
        TypeError: ``source`` is no text or path; or an option is missing, or not for this kind of
            source.

    Example:
        >>> open_data("digits", 32, flat=True)
        DataBunch(train: 45 batches, valid: 6 batches, c=10)
    """
    read, what = reader_for(source)
    parameters = dict(inspect.signature(read).parameters)
    for taken in ("path", "batch_size"):
        parameters.pop(taken, None)
    refuse_unknown(what, options, parameters)
    needed = [name for name, p in parameters.items() if p.default is p.empty]
    if missing := [name for name in needed if name not in options]:
        raise TypeError(f"{what} needs the option {missing[0]}. Give {missing[0]}=….")
    if source in SOURCES:
        return read(batch_size=batch_size, **options)
    return read(source, batch_size=batch_size, **options)


def reader_for(source: str | Path) -> tuple[Callable[..., DataBunch], str]:
    """The function that reads a source, and what messages call it; nothing is read.

    Raises:
        ValueError: there is no such source, or it is of a kind that cannot be read.
        TypeError: it is no text or path.

    Example:
        >>> reader_for("digits")[1]
        'digits'
    """
    if not isinstance(source, (str, Path)):
        raise TypeError(f"source must be a name or a path; got {source!r}. Give e.g. 'digits'.")
    if source in SOURCES:
        return SOURCES[str(source)], str(source)
    path = path_of(source)
    ending = path.suffix.lower()
    if path.is_dir() or (ending == ".zip" and path.exists()):
        return image_folder, f"{source}, a {ending or 'folder'} of images,"
    if ending in (".csv", ".tsv") and path.exists():
        from lehr.data.tables.load import table

        return table, f"{source}, a table,"
    if ending == ".npz" and path.exists():
        from lehr.data.array_sets.load import arrays_file

        return arrays_file, f"{source}, a file of arrays,"
    if path.exists():
        raise ValueError(
            f"data must be a folder or a .zip of images, a .csv or .tsv table, or an .npz of "
            f"arrays; got {source}, a file of another kind. Bring it into one of these forms."
        )
    raise ValueError(
        f"there is no data {str(source)!r}. {did_you_mean(str(source), SOURCES)} Or give a path: "
        "a folder or .zip of images, a .csv or .tsv table, an .npz of arrays."
    )

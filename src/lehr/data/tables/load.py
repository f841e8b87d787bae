"""A table in a file, ready to train on."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from lehr.base.values import check_default_device
from lehr.data.array_sets.scale import mean_and_std
from lehr.data.bunch import DataBunch, get_dls
from lehr.data.loading.dataset import Dataset
from lehr.data.split import check_split, random_split
from lehr.data.tables.columns import work_out_column
from lehr.data.tables.dates import are_dates
from lehr.data.tables.missing_values import check_policy, keep_rows
from lehr.data.tables.preparation import TablePreparation, check_names
from lehr.data.tables.target import class_names, is_regression
from lehr.data.tables.text_table import TextTable, read_text_table
from lehr.data.tables.values import is_numeric, read_numbers, without_value


def table(
    path: str | Path,
    target: str,
    batch_size: int = 64,
    *,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    missing: str = "error",
    regression: bool | None = None,
    split: str = "valid",
    valid_share: float = 0.2,
    split_seed: int = 0,
    normalize: bool = True,
    preparation: TablePreparation | None = None,
    drop_last: bool = False,
    seed: int | None = None,
) -> DataBunch:
    """A CSV or TSV file: one column to predict, the others to predict it from.

    A column in which every value is a number is one feature. One in which every value is a date,
    the year first, is a feature for each of year, month, day, weekday, days since 1970, and hour
    if it has times (`lehr.data.tables.dates`). Any other is a feature for each of its categories.
    The whole file says which categories and classes there are, the training rows alone say mean and
    deviation.

    Args:
        path: a file in UTF-8 whose first line names the columns; comma, semicolon or tab
            between values.
        target: the column to predict. Text and whole numbers (also 1.0) are classes; if any
            number has decimals, it is predicted as a number. So are whole numbers of which there
            are more than 100, or more than 20 and every second row has its own, with a warning.
        batch_size: of training; validation has twice that.
        columns: the columns to predict from; by default all others.
        exclude: columns to leave out of these.
        missing: what is done about empty values (among numbers also NA, nan and the like):
            "error"; "mean", which stands for the training mean, or for no category; "drop", which
            leaves the row out and warns.
        regression: predict the target as a number, or not; by default as said there.
        split: ``"valid"``, or ``"all"``, with a ``preparation`` only, to evaluate on every row:
            both loaders have all of them then.
        valid_share: share of the rows kept for validation.
        split_seed: decides which.
        normalize: bring numbers, also those to predict, to mean 0 and standard deviation 1 over
            the training rows. The loss is then in units of the target's deviation;
            ``preparation.answers(pred)`` brings predictions back into those of the file.
        preparation: an earlier training's, instead of working one out; ``columns``,
            ``exclude``, ``missing`` and ``normalize`` are then its own.
        drop_last: leave out a last training batch that is not full.
        seed: see `lehr.data.DataLoader`.

    Returns:
        A DataBunch in memory; ``xb`` is float32 ``(batch, features)``; ``yb`` int64 ``(batch,)``
        with ``c`` classes, or float32 ``(batch, 1)`` with ``c = None``.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is no such table; a column is not there, lacks values, or cannot be
            used; ``valid_share`` leaves one part empty; or ``split`` cannot be had.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "flowers.csv")
        ...     _ = file.write_text("size,hue,kind\\n" + "5.1,red,rose\\n4.9,blue,iris\\n" * 50)
        ...     bunch = table(file, "kind")
        >>> bunch.classes, bunch.train_ds.x.shape
        (('iris', 'rose'), torch.Size([80, 3]))
    """
    check_default_device("loaded")
    check_split(split, preparation, ("valid", "all"))
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"path must be the path of a CSV or TSV file; got {type(path).__name__}. Write a "
            "DataFrame to one, df.to_csv('table.csv', index=False), or give numbers by "
            "data.arrays(df[['a', 'b']], df['target'])."
        )
    text = read_text_table(path)
    check_names([target], text)
    if preparation is None:
        names = _columns(text, target, columns, exclude)
        text = _keep(text, names, target, missing)
        classes = () if is_regression(text, target, regression) else class_names(text, target)
        train, valid = random_split(len(text), valid_share, split_seed)
        rows = cast("list[int]", train.tolist())
        worked_out = tuple(work_out_column(text, name, rows, normalize) for name in names)
        scale = (0.0, 1.0) if classes or not normalize else _scale(text, target, rows)
        preparation = TablePreparation(target, classes, worked_out, missing, *scale)
    else:
        _check_fits(preparation, target, columns, regression)
        text = preparation.keep(text, with_target=True)
        train = valid = torch.arange(len(text))
        if split != "all":
            train, valid = random_split(len(text), valid_share, split_seed)
    whole, lines = (preparation.encode(text), preparation.targets(text)), torch.tensor(text.lines)
    train_ds, valid_ds = (
        Dataset(*(part[rows] for part in whole), names=partial(_place, path, lines[rows]))
        for rows in (train, valid)
    )
    loaders = get_dls(train_ds, valid_ds, batch_size, drop_last=drop_last, seed=seed)
    return DataBunch(*loaders, c=len(preparation.classes) or None, preparation=preparation)


def _place(path: str | Path, lines: Tensor, row: int) -> str:
    return f"{path}:{lines[row]}"


def _columns(
    text: TextTable, target: str, columns: Sequence[str] | None, exclude: Sequence[str]
) -> list[str]:
    for name, given in (("columns", columns), ("exclude", exclude)):
        if isinstance(given, str):
            raise TypeError(f"{name} must be a list of names; got {given!r}. Give [{given!r}].")
    names = [name for name in text.columns if name != target] if columns is None else list(columns)
    check_names([*names, *exclude], text)
    if target in exclude:
        raise ValueError(
            f"exclude must not name the target {target!r}, which is never predicted from itself; "
            f"got {list(exclude)}. Leave it out, or name another target."
        )
    names = [name for name in names if name not in exclude]
    if not names or target in names or len(set(names)) < len(names):
        raise ValueError(
            f"columns must name at least one column, each once, and not the target {target!r}; got "
            f"{names}. {text.path.name} has {', '.join(text.columns)}."
        )
    return names


def _keep(text: TextTable, names: Sequence[str], target: str, missing: str) -> TextTable:
    check_policy(missing)
    holes: dict[str, list[int]] = {}
    for name in (*names, target):
        values = text.columns[name]
        holes[name] = without_value(values, numeric=is_numeric(values) or are_dates(values))
    return keep_rows(text, missing, holes, target=target)


def _scale(text: TextTable, target: str, rows: list[int]) -> tuple[float, float]:
    """Mean and deviation of the numbers to predict, over the training rows."""
    mean, std = mean_and_std(read_numbers(text, target, target=True)[rows][:, None])
    return mean[0], std[0]


def _check_fits(
    preparation: TablePreparation,
    target: str,
    columns: Sequence[str] | None,
    regression: bool | None,
) -> None:
    if target != preparation.target:
        raise ValueError(
            f"target must be the preparation's, {preparation.target!r}; got {target!r}. Leave "
            "preparation= out to predict another column."
        )
    own = [column.name for column in preparation.columns]
    if columns is not None and list(columns) != own:
        raise ValueError(
            f"columns must be the preparation's, {own}; got {list(columns)}. Leave columns= out."
        )
    if regression not in (None, not preparation.classes):
        raise ValueError(
            f"regression must be the preparation's, {not preparation.classes}; got {regression}. "
            "Leave regression= out."
        )

"""The column to predict: classes or numbers, and which."""

import reprlib
import warnings

import torch
from torch import Tensor

from lehr.data.tables.text_table import TextTable
from lehr.data.tables.values import is_numeric, listed, nearly_all_differ, parse_number


def whole_number(text: str) -> str | None:
    """The usual spelling of a whole number, however it was written; None if it is none.

    Example:
        >>> whole_number("3"), whole_number("3.0"), whole_number("3.5"), whole_number("red")
        ('3', '3', None, None)
    """
    number = parse_number(text)
    if number is None or not number.is_integer():
        return None
    try:
        return str(int(text))
    except ValueError:
        return str(int(number))


def is_regression(table: TextTable, target: str, wanted: bool | None = None) -> bool:
    """Whether a column is to be predicted as a number.

    By default it is, if any number has decimals. Whole numbers are classes, unless there are more
    than 100, or more than 20 and every second row has its own; then a warning says so.

    Args:
        table: rows with a target.
        target: the column.
        wanted: the user's word on it.

    Raises:
        ValueError: numbers are wanted and one value is none.

    Example:
        >>> from pathlib import Path
        >>> columns = {"size": ["5.1", "6"], "rings": ["3.0", "4"]}
        >>> table = TextTable(Path("a.csv"), columns, [2, 3])
        >>> is_regression(table, "size"), is_regression(table, "rings")
        (True, False)
    """
    values = table.columns[target]
    if not is_numeric(values):
        if wanted:
            odd = next(i for i, text in enumerate(values) if parse_number(text) is None)
            raise ValueError(
                f"{target} must be numbers for regression=True; {table.place(odd)} has "
                f"{reprlib.repr(values[odd])}. Correct it, or give regression=False to predict "
                "classes."
            )
        return False
    if wanted is not None:
        return wanted
    whole = {whole_number(text) for text in values}
    if None in whole:
        return True
    if len(whole) <= 100 and not nearly_all_differ(len(whole), len(values)):
        return False
    warnings.warn(
        f"{target} is predicted as a number, because {table.path.name} has {len(whole)} different "
        f"whole numbers of it in {len(values)} rows. To predict classes, give regression=False; "
        "regression=True says that it is right.",
        stacklevel=3,
    )
    return True


def class_names(table: TextTable, target: str) -> tuple[str, ...]:
    """The classes in a column: texts in alphabetical order, whole numbers in theirs.

    Raises:
        ValueError: all rows have the same value, or nearly every row its own.

    Example:
        >>> from pathlib import Path
        >>> class_names(TextTable(Path("a.csv"), {"rings": ["10", "9", "9.0"]}, [2, 3, 4]), "rings")
        ('9', '10')
    """
    values = table.columns[target]
    whole = {whole_number(text) for text in values}
    known = [name for name in whole if name is not None]
    names = sorted(known, key=int) if None not in whole else sorted(set(values))
    if len(names) < 2:
        raise ValueError(
            f"{target} must have at least two different values to be classes; {table.path.name} "
            f"has only {reprlib.repr(names[0])}. Name another target."
        )
    if None in whole and nearly_all_differ(len(names), len(values)):
        raise ValueError(
            f"{target} must have several rows to a class; {table.path.name} has {len(names)} "
            f"different values in {len(values)} rows, such as {reprlib.repr(values[0])}. Name "
            "another target, or correct values that should be numbers."
        )
    return tuple(names)


def labels(table: TextTable, target: str, classes: tuple[str, ...]) -> Tensor:
    """The number of each row's class, int64 ``(rows,)``.

    Raises:
        ValueError: a value is none of the classes.

    Example:
        >>> from pathlib import Path
        >>> labels(TextTable(Path("a.csv"), {"rings": ["10", "9.0"]}, [2, 3]), "rings", ("9", "10"))
        tensor([1, 0])
    """
    numbers = {name: label for label, name in enumerate(classes)}
    targets: list[int] = []
    for row, text in enumerate(table.columns[target]):
        label = numbers.get(text, numbers.get(whole_number(text) or text))
        if label is None:
            raise ValueError(
                f"{target} must be one of the classes {listed(classes)}; {table.place(row)} has "
                f"{reprlib.repr(text)}. Correct it, or train on data that have it."
            )
        targets.append(label)
    return torch.tensor(targets)

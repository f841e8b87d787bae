"""What is done to a row of a table before a model sees it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor

from lehr.data.tables.columns import CategoryColumn, Column, NumberColumn, column_from
from lehr.data.tables.dates import DateColumn
from lehr.data.tables.missing_values import keep_rows
from lehr.data.tables.target import labels, whole_number
from lehr.data.tables.text_table import TextTable, read_text_table
from lehr.data.tables.values import read_numbers, without_value
from lehr.errors import did_you_mean, positive_int

MOST_FEATURES = 1 << 28
"""Numbers that a table is made into at most (a gigabyte), unless it holds as many itself."""


@final
@dataclass(frozen=True)
class TablePreparation:
    """Turns rows of text into features; a `lehr.data.preparation.Preparation`.

    Args:
        target: the column to predict; new tables need not have it.
        classes: its values by label; empty where it is a number.
        columns: the columns to predict from, in the order of the features.
        missing: what is done where a value is missing; one of
            `lehr.data.tables.missing_values.POLICIES`.
        target_mean: of the target where it is a number; 0 leaves it as it is.
        target_std: the same; 1 leaves it as it is.

    Raises:
        ValueError: a field is of another type, out of range, or does not fit another field.

    Example:
        >>> from lehr.data.tables.columns import CategoryColumn, NumberColumn
        >>> columns = NumberColumn("size", 5.0, 2.0, 5.0), CategoryColumn("hue", ("blue", "red"))
        >>> preparation = TablePreparation("species", ("a", "b"), columns)
        >>> table = TextTable(Path("new.csv"), {"hue": ["red"], "size": ["8"]}, [2])
        >>> x = preparation.encode(table)
        >>> x.tolist(), preparation.in_words(x[0])
        ([[1.5, 0.0, 1.0]], 'size=8 hue=red')
    """

    kind: ClassVar[str] = "table"
    target: str
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    missing: str = "error"
    target_mean: float = 0.0
    target_std: float = 1.0

    def __post_init__(self) -> None:
        from lehr.data.stored_fields import TableFields, settle

        settle(self, TableFields)
        _check_columns(self.columns, self.target)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The number of features, as a shape."""
        return (sum(column.width for column in self.columns),)

    def to_dict(self) -> dict[str, Any]:
        """Text, numbers and lists that say everything."""
        return {
            "kind": self.kind,
            "target": self.target,
            "classes": list(self.classes),
            "columns": [column.to_dict() for column in self.columns],
            "missing": self.missing,
            "target_mean": self.target_mean,
            "target_std": self.target_std,
        }

    @classmethod
    def from_dict(cls, stored: Any) -> "TablePreparation":
        """The preparation that `to_dict` was called on.

        Raises:
            ValueError: a field is missing, unknown, of another type or out of range.
        """
        from lehr.data.stored_fields import TableFields, stored_fields

        fields = stored_fields(TableFields, stored, "a table's preparation")
        columns = enumerate(fields.pop("columns"))
        return cls(columns=tuple(column_from(one, f"columns[{i}]") for i, one in columns), **fields)

    def encode(self, table: TextTable) -> Tensor:
        """The features of every row, float32 ``(rows, features)``; missing values are filled.

        Raises:
            ValueError: a column is not there, a value is no number or no known category, or the
                categories make more than `MOST_FEATURES`.
        """
        self._check(table)
        self._check_size(table)
        return torch.cat([column.encode(table) for column in self.columns], 1)

    def targets(self, table: TextTable) -> Tensor:
        """The target of every row on the scale of the model.

        Labels int64 ``(rows,)``; or numbers float32 ``(rows, 1)``, without mean and deviation.

        Raises:
            ValueError: the column is not there, or a value is no known class or no number.
        """
        check_names([self.target], table)
        if not self.classes:
            numbers = read_numbers(table, self.target, target=True)
            return ((numbers - self.target_mean) / self.target_std).float()[:, None]  # (rows, 1)
        return labels(table, self.target, self.classes)

    def answers(self, pred: Tensor) -> Tensor:
        """Predicted numbers in the units of the target; predictions of classes as they are.

        Example:
            >>> from lehr.data.tables.columns import NumberColumn
            >>> columns = (NumberColumn("rooms", 3.0, 1.0, 3.0),)
            >>> price = TablePreparation("price", (), columns, "error", 200.0, 50.0)
            >>> price.answers(torch.tensor([[2.0]]))
            tensor([[300.]])
        """
        if self.classes:
            return pred
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))
        return pred * self.target_std + self.target_mean

    def keep(self, table: TextTable, *, with_target: bool = False) -> TextTable:
        """The rows that may be encoded, by the policy for missing values.

        Raises:
            ValueError: a value is missing where none may be, or a column is not there.
        """
        self._check(table)
        holes = {column.name: column.missing(table) for column in self.columns}
        if with_target:
            check_names([self.target], table)
            texts = table.columns[self.target]
            numeric = not self.classes or all(whole_number(name) for name in self.classes)
            holes[self.target] = without_value(texts, numeric=numeric)
        return keep_rows(table, self.missing, holes, target=self.target, settled=True)

    def batches(
        self, files: Sequence[Path], batch_size: int = 64
    ) -> Iterator[tuple[list[str], Tensor]]:
        """New rows from files, prepared: names like ``new/a.csv:2``, and ``xb`` of as many.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: a file is no table, lacks a column, or holds a value that is not allowed;
                file, column and line are named.
        """
        batch_size = positive_int("batch_size", batch_size)
        for file in files:
            table = self.keep(read_text_table(file))
            x = self.encode(table)
            for start in range(0, len(table), batch_size):
                rows = range(start, min(start + batch_size, len(table)))
                yield [f"{file}:{table.lines[row]}" for row in rows], x[rows.start : rows.stop]

    def picture(self, x: Tensor) -> Tensor | None:
        """None: a row is no image."""
        return None

    def in_words(self, x: Tensor) -> str:
        """The row that made these features, like ``size=5.1 colour=red``."""
        widths = [column.width for column in self.columns]
        parts: tuple[Tensor, ...] = cast(Any, x).split(widths)
        pairs = zip(self.columns, parts, strict=True)
        return " ".join(f"{column.name}={column.decode(part)}" for column, part in pairs)

    def _check_size(self, table: TextTable) -> None:
        n, (features,) = len(table), self.item_shape
        if n * features > max(MOST_FEATURES, n * len(self.columns)):
            widest = max(self.columns, key=lambda column: column.width)
            raise ValueError(
                f"{table.path.name} would become {n:,} rows of {features:,} features, which fill "
                f"{4 * n * features / 2**30:.0f} GiB; {widest.name[:80]!r} alone has "
                f"{widest.width:,} categories. Leave it out by "
                f"exclude={[widest.name[:80]]}, or make groups of them."
            )

    def _check(self, table: TextTable) -> None:
        check_names([column.name for column in self.columns], table)


def _check_columns(columns: Sequence[Any], target: str) -> None:
    for column in columns:
        if not isinstance(column, (NumberColumn, CategoryColumn, DateColumn)):
            raise ValueError(
                "columns must be NumberColumns, CategoryColumns and DateColumns; got "
                f"{column!r}. Work the preparation out again from the data."
            )
    names = [column.name for column in columns]
    if not names or len({*names, target}) <= len(names):
        raise ValueError(
            f"columns must name at least one column, each once, and not the target {target!r}; "
            f"got {names}. Work the preparation out again from the data."
        )


def check_names(names: Sequence[str], table: TextTable) -> None:
    """Refuse columns that a table does not have.

    Raises:
        TypeError: a name is no text.
        ValueError: it lacks one of them.

    Example:
        >>> check_names(["x"], TextTable(Path("a.csv"), {"x": ["1"]}, [2]))
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a column is named by text; got {name!r}. Give one of its names.")
        if name not in table.columns:
            raise ValueError(
                f"{table.path.name} has no column {name!r}. {did_you_mean(name, table.columns)}"
            )

"""The record of a run: a row for every report, a bounded column for every number logged by step."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lehr.base.files import save_file
from lehr.base.nested import as_json
from lehr.base.paths import path_of
from lehr.base.rows import html_rows
from lehr.errors import did_you_mean
from lehr.record.means import Mean, kept
from lehr.record.series import Number, Series, Tap, by_batch

if TYPE_CHECKING:
    import pandas as pd


class History:
    """What a run recorded. ``history["valid_loss"]`` is a column, by name.

    Rows come with every epoch and every validation (``epoch``, ``step``, ``train_loss``,
    ``valid_loss``, metrics, ``seconds``, and what callbacks log outside training batches). Series
    come with every training batch (``loss``, ``lr``, every scheduled quantity, and what callbacks
    log inside).

    Example:
        >>> history = History()
        >>> history.log_row("valid_loss", 0.25)
        >>> history.log_step("lr", 0.1, batch=0)
        >>> history["valid_loss"], history["lr"], history.names
        ([0.25], [0.1], ['valid_loss', 'lr'])
    """

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}
        """Facts about the whole run, such as its seed."""
        self.before_read: list[Callable[[], None]] = []
        """Functions that log what was only gathered so far; called before anything is read."""
        self.before_kept: list[Callable[[], None]] = []
        """Functions that make what one process has gathered that of all: they are called in every
        process before the first one's state is saved"""
        self.taps: list[Tap] = []
        """Each is handed every number logged by batch, before the series are thinned."""
        self.complete: int = sys.maxsize
        """Batches before this one have their losses: several processes share them now and then"""
        self._series: dict[str, Series] = {}
        self._rows: list[dict[str, Any]] = []
        self._row_open = False

    def open_row(self, **columns: Any) -> None:
        """Start a new row with these columns."""
        self._rows.append(dict(columns))
        self._row_open = True

    @property
    def row_is_open(self) -> bool:
        """Whether the next thing logged joins the last row."""
        return self._row_open

    def close_row(self) -> None:
        """Let the next thing logged start a new row."""
        self._row_open = False

    def log_row(self, name: str, value: Any) -> None:
        """Put ``value`` in the current row; a `Mean`, or a copy of a tensor, is read with it."""
        _check_name(name, self._series)
        if not self._row_open:
            self.open_row()
        self._rows[-1][name] = kept(value) if isinstance(value, Tensor) else value

    def drop(self, name: str) -> None:
        """Take a column out of the current row, if it is there."""
        if self._row_open:
            self._rows[-1].pop(name, None)

    def log_mean(self, name: str, value: Number, weight: float) -> None:
        """Average ``value`` into the current row, ``weight`` items heavy."""
        if not self._row_open:
            self.open_row()
        mean = self._rows[-1].get(name)
        if mean is None:
            _check_name(name, self._series)
            mean = self._rows[-1][name] = Mean()
        elif not isinstance(mean, Mean):
            _check_name(name, [name])
        mean.add(value, weight)

    def merge(self) -> None:
        """Call every function in `before_kept`; all processes must do so together."""
        for merge in self.before_kept:
            merge()

    @property
    def row_means(self) -> dict[str, Mean]:
        """The means in the current row that are not read yet, by column."""
        row = self._rows[-1] if self._row_open else {}
        return {name: mean for name, mean in row.items() if isinstance(mean, Mean)}

    @row_means.setter
    def row_means(self, means: Mapping[str, Mean]) -> None:
        if self._row_open:
            self._rows[-1] |= means

    def log_step(self, name: str, value: Number, *, batch: int) -> None:
        """Add ``value`` to the series ``name`` at training batch number ``batch``."""
        self.series_of(name).append(batch, value)
        for tap in self.taps:
            tap.append(name, batch, value)

    def log_steps(
        self, name: str, batches: Sequence[int], values: Tensor | Sequence[Number]
    ) -> None:
        """Add many values at once: a tensor ``(n,)`` without a graph, or ``n`` numbers."""
        self.series_of(name).extend(batches, values)
        for tap in self.taps:
            tap.extend(name, batches, values)

    def series_of(self, name: str) -> Series:
        """The series to write to under ``name``; a new one if there is none."""
        series = self._series.get(name)
        if series is None:
            _check_name(name, (column for row in self._rows for column in row))
            series = self._series[name] = Series()
        return series

    def gather(self) -> None:
        """Call every function in `before_read`; all that reads the history does this first."""
        for gather in self.before_read:
            gather()

    @property
    def series(self) -> dict[str, Series]:
        """The series by name."""
        self.gather()
        return self._series

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as plain numbers, oldest first."""
        self.gather()
        return [_plain(row) for row in self._rows]

    def current(self, name: str) -> Any:
        """The value of a column in the row that is being written; None if it is not there.

        Example:
            >>> history = History()
            >>> history.open_row(valid_loss=0.5)
            >>> history.current("valid_loss"), history.current("accuracy")
            (0.5, None)
        """
        return _read(self._rows[-1].get(name)) if self._row_open else None

    def finished(self, since: int = 0) -> list[dict[str, Any]]:
        """The rows from number ``since`` on that the recorder is done with.

        A row is finished once it has its ``seconds``, or when another has begun. Until the event in
        which it was finished is over, callbacks may still add to it.

        Example:
            >>> history = History()
            >>> history.open_row(epoch=0, seconds=1.5)
            >>> history.open_row(epoch=1)
            >>> history.finished(), history.finished(since=1)
            ([{'epoch': 0, 'seconds': 1.5}], [])
        """
        rows = self._rows[since:]
        if rows and self._row_open and "seconds" not in rows[-1]:
            rows = rows[:-1]
        if rows:
            self.gather()
        return [_plain(row) for row in rows]

    def steps(self, since: int = 0) -> list[dict[str, Any]]:
        """What was logged by batch, a dict for each training batch from number ``since`` on.

        Example:
            >>> history = History()
            >>> history.log_step("loss", 0.5, batch=0)
            >>> history.log_step("lr", 0.1, batch=0)
            >>> history.steps()
            [{'batch': 0, 'loss': 0.5, 'lr': 0.1}]
        """
        return by_batch({name: series.since(since) for name, series in self.series.items()})

    @property
    def names(self) -> list[str]:
        """Every column: those of the rows in order of appearance, then the series."""
        return list(dict.fromkeys([*(name for row in self._rows for name in row), *self.series]))

    def __getitem__(self, name: str) -> list[Any]:
        if name in self.series:
            return list(self.series[name].values)
        if name not in self.names:
            hint = did_you_mean(name, self.names) if self.names else "Nothing was recorded yet."
            raise KeyError(f"the history has no column {name!r}. {hint}")
        return [row.get(name) for row in self.rows]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"History({len(self._rows)} rows; columns: {', '.join(self.names) or 'none'})"

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain containers."""
        series = {name: {"batch": s.batches, "value": s.values} for name, s in self.series.items()}
        return {"meta": dict(self.meta), "rows": self.rows, "series": series}

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON text; written to ``path`` if one is given, whole. nan becomes null."""
        text = json.dumps(as_json(_finite, self.to_dict()), indent=1)
        if path is not None:
            save_file(path_of(path), f"{text}\n".encode())
        return text

    def to_jsonl(self, path: str | Path) -> None:
        """One JSON object a line: the meta data, then the rows, then a line for each batch."""
        lines = [("meta", self.meta), *(("row", row) for row in self.rows)]
        lines += [("step", step) for step in self.steps()]
        text = "".join(json_line(kind, values) for kind, values in lines)
        save_file(path_of(path), text.encode())

    def to_csv(self, path: str | Path, *, safe: bool = False) -> None:
        """The rows as a table; a missing value is an empty cell.

        Args:
            path: of the file.
            safe: a text that a spreadsheet would take for a formula gets a quote before it;
                numbers stay numbers.
        """
        from lehr.base.terminal import safe_cell

        made = safe_cell if safe else _as_it_is
        text = io.StringIO(newline="")
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.writer(text)
        writer.writerow(map(made, columns))
        writer.writerows([made(row.get(name)) for name in columns] for row in self.rows)
        save_file(path_of(path), text.getvalue().encode())

    def to_frame(self, *, by_batch: bool = False) -> "pd.DataFrame":
        """The rows as a table of pandas; or the series, with a row for each training batch.

        Args:
            by_batch: give what was logged by training batch.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            message = (
                "a table of pandas needs pandas, which is not installed. Use to_csv, or install "
                "pandas."
            )
            raise ImportError(message) from error
        return pd.DataFrame(self.steps() if by_batch else self.rows)

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a table of pandas, as `to_frame` gives it."""
        return self.to_frame()

    def state_dict(self) -> dict[str, Any]:
        """Everything held, as plain containers of numbers and tensors; nothing changes by it.

        What is gathered but not logged yet is part of the gatherer's state, not of this.
        """
        rows = [dict(row) for row in self._rows]
        means: dict[Any, Any] = {}
        for number, row in enumerate(rows):
            for name, value in row.items():
                if isinstance(value, Mean):
                    means[number, name] = value.state_dict()
                    row[name] = None
                elif not isinstance(value, Tensor):
                    row[name] = _read(value)
        return {
            "meta": dict(self.meta),
            "rows": rows,
            "means": means,
            "row_open": self._row_open,
            "series": {name: series.state_dict() for name, series in self._series.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Hold what `state_dict` says and nothing else, in the same object and the same series."""
        self.meta.clear()
        self.meta.update(state_dict["meta"])
        self._rows[:] = [dict(row) for row in state_dict["rows"]]
        for (number, name), state in state_dict["means"].items():
            mean = self._rows[number][name] = Mean()
            mean.load_state_dict(state)
        self._row_open = state_dict["row_open"]
        known = dict(self._series)
        self._series.clear()
        for name, state in state_dict["series"].items():
            self._series[name] = series = known.get(name) or Series()
            series.load_state_dict(state)

    def _repr_html_(self) -> str:
        return html_rows(self.rows)


def json_line(kind: str, values: Mapping[str, Any]) -> str:
    """A line of a JSONL file: ``"meta"``, ``"row"`` or ``"step"``; nan and infinity become null.

    Example:
        >>> json_line("row", {"epoch": 0, "valid_loss": float("nan")})
        '{"kind": "row", "epoch": 0, "valid_loss": null}\\n'
    """
    return json.dumps(as_json(_finite, {"kind": kind, **values})) + "\n"


def column(name: str, loader: str) -> str:
    """The column of ``name`` for one of several validation loaders; a single one has no name.

    Example:
        >>> column("valid_loss", ""), column("valid_loss", "clean")
        ('valid_loss', 'clean/valid_loss')
    """
    return f"{loader}/{name}" if loader else name


def _check_name(name: str, taken: Iterable[str]) -> None:
    if name in ("kind", "batch"):
        raise ValueError(
            f"{name!r} cannot be logged: the files of a history use it. Choose another name."
        )
    if name in taken:
        raise ValueError(
            f"{name!r} is logged both by batch and by row; a name is one column. Choose another "
            "name for one of them."
        )


def _as_it_is(value: Any) -> Any:
    return value


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _read(value) for name, value in row.items()}


def _read(value: Any) -> Any:
    if isinstance(value, Mean):
        return value.value
    return value.item() if hasattr(value, "item") else value  # tensors and NumPy's numbers


def _finite(value: Any) -> Any:
    # JSON has no nan and no infinity.
    lost = isinstance(value, float) and not math.isfinite(value)
    return None if lost else value

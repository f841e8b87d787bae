"""A run folder, read back."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, final

from lehr.base import strict_json
from lehr.base.paths import path_of
from lehr.base.reading import open_plain
from lehr.base.stored import Finite, Form, Index, read
from lehr.errors import sentence
from lehr.record.layer_table import LayerTable
from lehr.report import first_items, layer_records
from lehr.report.evaluation import Evaluation
from lehr.report.first_items import FirstItem
from lehr.report.regression import Regression
from lehr.report.sweep import Sweep

PLAIN_COLUMNS = ("kind", "epoch", "step", "train_loss", "valid_loss", "seconds")
"""Columns of a row that are no metrics."""

_T = TypeVar("_T")
_LARGEST = 1 << 28  # bytes of JSON: the preparation of a million features, and then some
_LONGEST_LINE = 1 << 24  # bytes: of one row of a history, or of what one batch logged
_LARGEST_NUMBER = 1e308


class Points(NamedTuple):
    """One number over the training batches; nan where the file has null."""

    batches: list[int]
    values: list[float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a run folder says about one training; read with `RunRecord.read`."""

    path: Path
    """the folder"""
    config: dict[str, Any]
    """``config.json``: how it ended, and under ``settings`` what decided it"""
    environment: dict[str, Any]
    """versions and hardware; empty if they were not written"""
    rows: list[dict[str, Any]]
    """the rows of the history; empty if nothing was recorded"""
    series: dict[str, Points]
    """what was recorded by batch"""
    evaluation: Evaluation | None
    """what it does on the validation set; None if that was not kept"""
    weights: Path | None
    """the file of the weights, if there is one"""
    regression: Regression | None = None
    """how far predicted numbers are off there; None if that was not kept"""
    layers: list[LayerTable] = field(default_factory=list[LayerTable])
    """what was recorded of the layers; empty if nothing was"""
    first_items: list[FirstItem] = field(default_factory=list[FirstItem])
    """items of the first training batch, as the loader gave them; empty if they were not kept"""
    sweep: Sweep | None = None
    """the search for a learning rate before the training; None if there was none"""

    @classmethod
    def read(cls, path: str | Path) -> "RunRecord":
        """Read a run folder, also one whose training still runs or failed at once.

        What is damaged or cannot be read besides ``config.json`` is left out, with a warning.

        Raises:
            FileNotFoundError: there is no such folder, or it is no run folder.
            ValueError: ``config.json`` is damaged.
            OSError: it cannot be read.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = Path(folder, "config.json").write_text('{"status": "running"}')
            ...     RunRecord.read(folder).status
            'running'
        """
        path = path_of(path)
        config = read_config(path)
        goes_on = config.get("status") == "running"
        rows, series = _history(path / "history.jsonl", goes_on=goes_on)
        weights = path / "model.safetensors"
        return cls(
            path=path,
            config=config,
            environment=read_environment(path),
            rows=rows,
            series=series,
            regression=_or_without("the evaluation", lambda: Regression.load(path), None),
            evaluation=_or_without("the evaluation", lambda: _evaluation(path), None),
            weights=weights if weights.is_file() else None,
            layers=_or_without("what is known of the layers", lambda: layer_records.load(path), []),
            first_items=_or_without("the first batch", lambda: first_items.load(path), []),
            sweep=_or_without("the search for a learning rate", lambda: Sweep.load(path), None),
        )

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted`` or ``failed``."""
        return str(self.config.get("status", "unknown"))

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the training."""
        settings = self.config.get("settings")
        return cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}

    @property
    def title(self) -> str:
        """Data and model, as far as the settings name them; else the folder's name."""
        named = [self.settings.get(key) for key in ("data", "model")]
        parts = [Path(part).name or part for part in named if isinstance(part, str) and part]
        return " · ".join(parts) or self.name

    @property
    def metrics(self) -> list[str]:
        """The columns of the rows that are metrics, in order of appearance."""
        names = dict.fromkeys(
            name for row in self.rows for name, value in row.items() if _is_number(value)
        )
        return [name for name in names if name.rpartition("/")[2] not in PLAIN_COLUMNS]

    def column(self, name: str) -> list[float | None]:
        """One column of the rows; None where a row has no number there."""
        values = [row.get(name) for row in self.rows]
        return [float(cast("float", v)) if _is_number(v) else None for v in values]

    @property
    def batches(self) -> int:
        """How many training batches were recorded."""
        return max((points.batches[-1] + 1 for points in self.series.values()), default=0)


def read_config(path: str | Path) -> dict[str, Any]:
    """What decided the training of a run folder and how it ended; no other file is looked at.

    Raises:
        FileNotFoundError: there is no such folder, or it is no run folder.
        ValueError: the file is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"status": "running"}')
        ...     read_config(folder)
        {'status': 'running'}
    """
    path = path_of(path)
    if not (path / "config.json").exists():
        why = "it has no config.json" if path.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"{path} is no run folder: {why}. Give a folder that lehr train made."
        )
    return _object(path / "config.json")


def read_environment(path: str | Path) -> dict[str, Any]:
    """The versions and hardware that the training of a run folder began on; empty if unknown.

    A file that is damaged or cannot be read is warned about.

    Example:
        >>> read_environment("absent")
        {}
    """
    file = path_of(path) / "environment.json"
    return _or_without("the environment", lambda: _object(file) if file.exists() else {}, {})


def _evaluation(path: Path) -> Evaluation | None:
    return Evaluation.load(path) if (path / "evaluation.json").exists() else None


def _or_without(what: str, read: Callable[[], _T], otherwise: _T) -> _T:
    """What can be read; what cannot must not keep anybody from the rest."""
    try:
        return read()
    except (OSError, ValueError) as error:
        warnings.warn(f"{what} is left out: {error}", stacklevel=3)
        return otherwise


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not abs(value) > _LARGEST_NUMBER  # nan is one, that of a loss that has gone wrong


def _object(path: Path) -> dict[str, Any]:
    try:
        content = strict_json.read(path, _LARGEST)
    except ValueError as error:
        raise _damaged(str(path), error) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it must hold a JSON object. Train again.")
    return cast("dict[str, Any]", content)


def _damaged(where: str, error: ValueError) -> ValueError:
    return ValueError(f"{where} is damaged: {sentence(error)} Restore the file, or train again.")


def _history(path: Path, *, goes_on: bool) -> tuple[list[dict[str, Any]], dict[str, Points]]:
    rows: list[dict[str, Any]] = []
    series: dict[str, Points] = {}
    damaged: list[ValueError] = []

    def read() -> None:
        with open_plain(path) as file:
            lines = iter(lambda: file.readline(_LONGEST_LINE), b"")
            for number, line in enumerate(lines, 1):
                if goes_on and not line.endswith(b"\n"):
                    break  # half written
                try:
                    _add(rows, series, strict_json.parse(line))
                except ValueError as error:
                    damaged.append(_damaged(f"{path}, line {number},", error))

    if path.exists():
        _or_without("the history", read, None)
    if damaged:
        lines = f"{len(damaged):,} line{'s' * (len(damaged) > 1)}"
        warnings.warn(f"{lines} of the history left out: {damaged[0]}", stacklevel=3)
    return rows, series


class _RowFields(Form):
    """Those that the recorder itself writes; the others are anybody's."""

    epoch: Index | None = None
    step: Index | None = None
    seconds: Finite | None = None


def _add(rows: list[dict[str, Any]], series: dict[str, Points], line: Any) -> None:
    """Take in one line of a history; one of a kind that is not known here says nothing."""
    entry = cast("dict[str, Any]", line) if isinstance(line, dict) else {}
    kind = entry.pop("kind", None)
    if kind is None:
        raise ValueError("it is no part of a history")
    if kind == "row":
        _RowFields.read_among(entry, "it")
        rows.append(entry)
    elif kind == "step":
        batch: int = read(Index, entry.pop("batch", None), "batch")
        values: dict[str, float | None] = read(dict[str, Finite | None], entry, "it")
        for name, value in values.items():
            points = series.setdefault(name, Points([], []))
            points.batches.append(batch)
            points.values.append(float("nan") if value is None else value)

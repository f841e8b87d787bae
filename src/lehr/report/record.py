"""A run folder, read back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, final

from lehr.report.evaluation import Evaluation

PLAIN_COLUMNS = ("kind", "epoch", "step", "train_loss", "valid_loss", "seconds")
"""Columns of a row that are no metrics."""


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

    @classmethod
    def read(cls, path: str | Path) -> "RunRecord":
        """Read a run folder, also one whose training still runs or failed at once.

        Raises:
            FileNotFoundError: there is no such folder, or it is no run folder.
            ValueError: one of its files is damaged.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = Path(folder, "config.json").write_text('{"status": "running"}')
            ...     RunRecord.read(folder).status
            'running'
        """
        path = Path(path)
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
            evaluation=Evaluation.load(path) if (path / "evaluation.json").is_file() else None,
            weights=weights if weights.is_file() else None,
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
        found = self.config.get("settings")
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

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
        found = [row.get(name) for row in self.rows]
        return [float(cast("float", v)) if _is_number(v) else None for v in found]

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
    path = Path(path)
    if not (path / "config.json").is_file():
        why = "it has no config.json" if path.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"{path} is no run folder: {why}. Give a folder that lehr train made."
        )
    return _object(path / "config.json")


def read_environment(path: str | Path) -> dict[str, Any]:
    """The versions and hardware that the training of a run folder began on; empty if unknown.

    Raises:
        ValueError: the file is damaged.

    Example:
        >>> read_environment("absent")
        {}
    """
    file = Path(path) / "environment.json"
    return _object(file) if file.is_file() else {}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _object(path: Path) -> dict[str, Any]:
    found = _parsed(path.read_text(encoding="utf-8", errors="replace"), str(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it must hold a JSON object. Train again.")
    return cast("dict[str, Any]", found)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is damaged: {error}. Restore the file, or train again."
        ) from error


def _history(path: Path, *, goes_on: bool) -> tuple[list[dict[str, Any]], dict[str, Points]]:
    rows: list[dict[str, Any]] = []
    series: dict[str, Points] = {}
    if not path.is_file():
        return rows, series
    text = path.read_text(encoding="utf-8", errors="replace")
    if goes_on:
        text = text[: text.rfind("\n") + 1]  # the last line may be half written
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        parsed = _parsed(line, f"{path}, line {number},")
        entry = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
        kind = entry.get("kind")
        if kind == "row":
            rows.append({key: value for key, value in entry.items() if key != "kind"})
        elif kind == "step":
            _add_step(series, entry, f"{path}, line {number},")
        elif kind is None:
            raise ValueError(f"{path}, line {number}, is no part of a history. Train again.")
    return rows, series


def _add_step(series: dict[str, Points], entry: Mapping[str, Any], where: str) -> None:
    batch = entry.get("batch")
    if type(batch) is not int or batch < 0:
        raise ValueError(f"{where} is damaged: batch must be a number; got {batch!r}. Train again.")
    for name, value in entry.items():
        if name in ("kind", "batch"):
            continue
        points = series.setdefault(name, Points([], []))
        points.batches.append(batch)
        points.values.append(float(value) if _is_number(value) else float("nan"))

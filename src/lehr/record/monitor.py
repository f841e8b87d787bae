"""Which column of a run's rows a decision hangs on, and when a value of it is better."""

import re
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Literal, Protocol

from lehr.engine import Engine
from lehr.errors import did_you_mean, nearest, real_number
from lehr.record.history import History, column

Mode = Literal["min", "max"]


class Judged(Protocol):
    """What `Monitor.judge` needs of a run."""

    history: History
    epoch: int
    engine: Engine

    @property
    def valid_names(self) -> list[str]:
        """The names of the validation loaders."""
        ...


HIGH = ("accuracy", "acc", "f1", "auroc", "auc", "precision", "recall", "iou", "dice")
LOW = ("loss", "error", "mae", "mse", "rmse", "perplexity")


def more_is_better(name: str) -> bool | None:
    """Whether a column of this name should rise, or fall; None if the name does not tell.

    Words in `HIGH` and `LOW` tell, unless the name has some of both.

    Example:
        >>> more_is_better("accuracy"), more_is_better("clean/valid_loss"), more_is_better("size")
        (True, False, None)
    """
    words = set(re.split("[^a-z0-9]+", name.rpartition("/")[2].lower()))
    rises, falls = not words.isdisjoint(HIGH), not words.isdisjoint(LOW)
    return None if rises == falls else rises


@dataclass(frozen=True)
class Monitor:
    """One column, and which of two values of it is better; ``nan`` is better than nothing else.

    Raises:
        TypeError: the name is no string, or ``min_delta`` no number.
        ValueError: ``mode`` is neither "min" nor "max", or is missing where the name does not tell;
            ``min_delta`` is negative or not finite.

    Example:
        >>> monitor = Monitor("accuracy", min_delta=0.01)
        >>> monitor.mode, monitor.better(0.93, 0.91), monitor.better(0.915, 0.91)
        ('max', True, False)
    """

    name: str
    """of a column of the history's rows"""
    mode: Mode | None = None
    """``"min"`` or ``"max"`` is better; None: as `more_is_better` tells"""
    min_delta: float = 0.0
    """a value is better if it is by more than this"""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(
                f"monitor must be the name of a column; got {self.name!r}. "
                'Write e.g. monitor="valid_loss".'
            )
        if self.mode not in ("min", "max", None):
            raise ValueError(f'mode must be "min" or "max"; got {self.mode!r}. Choose one of them.')
        object.__setattr__(self, "mode", self.mode or _usual_mode(self.name))
        if real_number("min_delta", self.min_delta) < 0:
            raise ValueError(
                f"min_delta must be 0 or more; got {self.min_delta}. Which way is better is said "
                "by mode."
            )

    def better(self, value: float, than: float | None) -> bool:
        """Whether ``value`` is better, by more than `min_delta`, than the best so far.

        Args:
            value: any number; ``nan`` is never better.
            than: the best so far; None: there is none yet, so that any number is better.
        """
        if than is None:
            return value == value
        if self.mode == "min":
            return value < than - self.min_delta
        return value > than + self.min_delta

    def judge(self, run: Judged, since: int) -> tuple[int, list[tuple[int, float]]]:
        """The values that came with the rows finished since the last time.

        None, the value of a pass that was cut short, is left out. Of several processes, all must
        ask, and the values are those of the first: of a number that each logs for itself, such as
        one outside of a batch, they would decide differently.

        Args:
            run: whose history it is.
            since: how many rows were looked at before.

        Returns:
            How many rows have been looked at now, and (epoch, value) of those that have one.

        Raises:
            ValueError: the run has validated, or never will, and has no such column.
        """
        rows = run.history.finished(since)
        values: list[tuple[int, float]] = []
        for row in rows:
            if (value := row.get(self.name)) is not None:
                values.append((row.get("epoch", run.epoch), float(value)))
        values = run.engine.same(values)
        if rows and not values:
            self._require_column(run)
        return since + len(rows), values

    def _require_column(self, run: Judged) -> None:
        rows = run.history.finished()
        known = dict.fromkeys(name for row in rows for name in row)
        losses = [column("valid_loss", name) for name in run.valid_names]
        validated = any(row.get(loss) is not None for row in rows for loss in losses)
        if self.name in known or not (validated or not losses):
            return
        why = "after the first validation" if losses else "and there is no validation loader"
        refuse_unknown(self.name, known, why)


class _Waits(Protocol):
    @property
    def monitors(self) -> Sequence[str]: ...


class _Meter(Protocol):
    names: list[str]


def refuse_unvalidated(callbacks: Iterable[_Waits], valid: Sized, meters: Iterable[_Meter]) -> None:
    """Refuse a column that only a validation writes, before a fit that has none.

    What a callback of the user's own may write is not known beforehand.

    Args:
        callbacks: of the fit, with the columns that each waits for.
        valid: the validation loaders, by name.
        meters: the metrics of the Learner.

    Raises:
        ValueError: there is such a column, and no validation loader.

    Example:
        >>> refuse_unvalidated([], {}, [])
    """
    if valid:
        return
    measured = {name for meter in meters for name in meter.names}
    for callback in callbacks:
        for name in callback.monitors:
            bare = name.rpartition("/")[2]
            if bare == "valid_loss" or bare in measured:
                raise ValueError(
                    f"{type(callback).__name__} waits for monitor={name!r}, which only a "
                    "validation writes, and there is no validation loader: data.valid_dl is None. "
                    'Give the data one, or monitor="train_loss".'
                )


def refuse_unknown(name: str, known: Iterable[str], when: str) -> None:
    """Refuse a column that is monitored and not among those that are known.

    Args:
        name: of the column.
        known: names of columns.
        when: what they are known from.

    Raises:
        ValueError: it is not there.

    Example:
        >>> refuse_unknown("valid_loss", ["valid_loss"], "after the first validation")
    """
    known = list(known)
    if name not in known:
        offered = [n for n in known if n not in ("epoch", "step", "seconds")]
        raise ValueError(
            f"monitor={name!r} is no column of the history {when}. {did_you_mean(name, offered)}"
        )


def _usual_mode(name: str) -> Mode:
    rises = more_is_better(name)
    if rises is None:
        raise ValueError(
            f"monitor={name!r} does not tell which way is better, as the name of a loss or an "
            f'accuracy does. {_meant(name)} mode="min" or mode="max".'
        )
    return "max" if rises else "min"


def _meant(name: str) -> str:
    """What to do: to write another name, if a word of it is almost one that tells."""
    for word in filter(None, re.split("[^a-z0-9]+", name.lower())):
        if word not in (*HIGH, *LOW) and (guess := nearest(word, (*HIGH, *LOW))):
            return f"Did you mean {name.lower().replace(word, guess)}? Else write"
    return "Write"

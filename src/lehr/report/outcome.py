"""How a run came out: its epochs, its time, its best value, in numbers and in a sentence."""

from typing import NamedTuple, cast

from lehr.record.monitor import more_is_better
from lehr.report.record import RunRecord
from lehr.report.words import best, duration, moment, number, percent


class Score(NamedTuple):
    """One measured quantity: its last value and its best."""

    name: str
    final: float | None
    """the last that was measured"""
    best: float | None
    """None if it is not known whether more or less is better"""
    best_row: int | None
    """the row of the best value"""


def scores(record: RunRecord) -> list[Score]:
    """Losses and metrics, each at the end and at its best.

    Example:
        >>> from pathlib import Path
        >>> rows = [{"epoch": 0, "accuracy": 0.9}, {"epoch": 1, "accuracy": 0.8}]
        >>> empty = dict(config={}, environment={}, series={}, evaluation=None, weights=None)
        >>> scores(RunRecord(path=Path("x"), rows=rows, **empty))
        [Score(name='accuracy', final=0.8, best=0.9, best_row=0)]
    """
    losses = ["train_loss", *_valid_losses(record)]
    measured: list[Score] = []
    for name in [*losses, *record.metrics]:
        values = record.column(name)
        known = [value for value in values if value is not None]
        rises = more_is_better(name)
        row = None if rises is None else best(values, rises)
        if known:
            measured.append(Score(name, known[-1], None if row is None else values[row], row))
    return measured


def main_score(record: RunRecord) -> Score | None:
    """The score that the run is judged by: accuracy, else the first metric that can be best, else
    the validation loss, else the training loss.
    """
    by_name = {score.name: score for score in scores(record)}
    judged = [name for name in record.metrics if not name.startswith("train_")]
    ranked = ["accuracy", *judged, *_valid_losses(record), "train_loss"]
    known = [by_name[name] for name in ranked if name in by_name]
    return next((score for score in known if score.best is not None), known[0] if known else None)


KEPT = "accuracy, weights that were kept"
"""The name of `kept_accuracy` among scores."""


def kept_accuracy(record: RunRecord) -> float | None:
    """The accuracy of the weights that were kept, where that is not what the last row says.

    They are not those of the last row where the best were put back, or where it has no accuracy.

    Returns:
        None if the run was not evaluated, or its last row says the same.
    """
    if record.evaluation is None or not record.evaluation.items:
        return None
    accuracy, items = record.evaluation.accuracy, record.evaluation.items
    names = [name for name in record.metrics if is_accuracy(name) and "train_" not in name]
    last = record.column(names[0])[-1] if names else None
    return accuracy if last is None or abs(accuracy - last) > 0.5 / items else None


def is_accuracy(name: str) -> bool:
    """Whether a column holds shares that are written in per cent.

    Example:
        >>> is_accuracy("clean/train_accuracy"), is_accuracy("accuracy_loss")
        (True, False)
    """
    return name == KEPT or name.rpartition("/")[2].removeprefix("train_") == "accuracy"


def _valid_losses(record: RunRecord) -> list[str]:
    names = dict.fromkeys(name for row in record.rows for name in row)
    return [name for name in names if name.rpartition("/")[2] == "valid_loss"]


class Timing(NamedTuple):
    """How long a run took."""

    wall: float | None
    """seconds from the start of the run folder to its end"""
    epochs: list[float]
    """seconds of each epoch, validation included"""
    batches: int
    """training batches recorded"""

    @property
    def batches_per_second(self) -> float | None:
        """Training batches over the time of all epochs, validation included."""
        total = sum(self.epochs)
        return self.batches / total if total and self.batches else None


def timing(record: RunRecord) -> Timing:
    """How long it took, and each epoch; the rows of one epoch count from its start.

    Example:
        >>> from pathlib import Path
        >>> rows = [{"epoch": 0, "seconds": 1.0}, {"epoch": 0, "seconds": 2.0}]
        >>> empty = dict(config={}, environment={}, series={}, evaluation=None, weights=None)
        >>> timing(RunRecord(path=Path("x"), rows=rows, **empty)).epochs
        [2.0]
    """
    start, end = (moment(record.config.get(key)) for key in ("started", "ended"))
    try:
        wall = (end - start).total_seconds() if start and end else None
    except TypeError:  # one of them knows its time zone
        wall = None
    last: dict[object, float] = {}
    for row, seconds in zip(record.rows, record.column("seconds"), strict=True):
        if seconds is not None:
            last[str(row.get("epoch"))] = seconds
    return Timing(wall, list(last.values()), record.batches)


def verdict(record: RunRecord) -> str:
    """How it ended, in one sentence or two.

    Example:
        >>> from pathlib import Path
        >>> empty = dict(environment={}, series={}, evaluation=None, weights=None, rows=[])
        >>> verdict(RunRecord(path=Path("x"), config={"status": "failed"}, **empty))
        'Failed before anything was recorded.'
    """
    took = timing(record)
    numbers = [row["epoch"] for row in record.rows if type(row.get("epoch")) is int]
    status = (
        record.status.capitalize() if record.status != "running" else "Still running, or killed,"
    )
    if not numbers and not record.batches:
        return f"{status} before anything was recorded."
    spent = f" and {duration(sum(took.epochs))}" if took.epochs else ""
    if not numbers:
        said = f"{status} after {record.batches:,} batches{spent}"
    elif record.status == "finished":
        count = len(set(numbers))
        said = f"{status} after {count} epoch{'s' * (count != 1)}{spent}"
    else:
        planned = record.settings.get("epochs")
        of = f" (of {planned})" if isinstance(planned, int) else ""
        said = f"{status} in epoch {numbers[-1]}{of}, after {record.batches:,} batches{spent}"
    score, kept = main_score(record), kept_accuracy(record)
    after = "" if kept is None else f"; of the weights that were kept: {percent(kept)}"
    if score is None:
        return f"{said}; no finite number was measured."
    if after and not is_accuracy(score.name):
        after = f". Accuracy of the weights that were kept: {percent(kept)}"
    name = score.name.replace("_", " ").capitalize()
    last = "so far" if record.status == "running" else "at the end"
    when = last if record.column(score.name)[-1] is not None else "last measured"
    end = f"{shown(score.name, score.final)}{_best(score, record)}{after}.{_kept_epoch(record)}"
    return f"{said}. {name} {when}: {end}"


def _kept_epoch(record: RunRecord) -> str:
    kept = record.config.get("kept")
    if not isinstance(kept, dict):
        return ""
    epoch, monitor = (cast("dict[str, object]", kept).get(key) for key in ("epoch", "monitor"))
    if type(epoch) is not int:
        return ""
    return f" The weights of epoch {epoch} were kept, the best by {monitor}."


def shown(name: str, value: float | None) -> str:
    """A value as its metric is usually written: accuracies in per cent.

    Example:
        >>> shown("accuracy", 0.5), shown("valid_loss", 0.5)
        ('50.0 %', '0.5000')
    """
    return (
        percent(value)
        if is_accuracy(name) and value is not None and 0 <= value <= 1
        else number(value)
    )


def _best(score: Score, record: RunRecord) -> str:
    if score.best_row is None or score.best is None:
        return ""
    if score.best == score.final:
        return ", its best" if len(record.rows) > 1 else ""
    epoch = record.rows[score.best_row].get("epoch")
    where = f", in epoch {epoch}" if epoch is not None else ""
    return f" (best: {shown(score.name, score.best)}{where})"

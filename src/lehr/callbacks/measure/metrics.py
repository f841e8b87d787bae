"""Metrics over the validation set, and over the training set if asked."""

import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lehr.callback import Callback
from lehr.engine import ALONE
from lehr.events import Phase
from lehr.record.history import column
from lehr.record.metrics import Meter, gather, merge, meters
from lehr.record.results import check_columns

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Metrics(Callback):
    """Computes metrics over every validation pass; a Learner makes one of its ``metrics=``.

    A function ``(pred, target) -> value`` is averaged by items; an object with ``update``,
    ``compute`` and ``reset``, such as any of ``torchmetrics``, or ``whole(function)``, gathers in
    its own way. The value may be a number; or a vector, whose columns are ``name_0``, ``name_1`` …;
    or a dict, with a column for each key. A metric of a pass that was cut short is None, and so is
    one over nothing: without a batch that had a loss and a weight above 0.

    Args:
        metrics: functions or objects, in a list; or in a dict, by the names of their columns.
        train: measure training passes as well, as ``train_<name>``: over the training items since
            the row before, while the weights were changing, like ``train_loss``. It costs one more
            reading of the predictions a batch.

    Example:
        >>> from lehr import accuracy
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[Metrics([accuracy], train=True)])
        >>> 0 <= run.history["train_accuracy"][0] <= 1
        True
    """

    phase = Phase.MEASURE
    state = ("gathered",)
    by_length = False

    def __init__(self, metrics: Iterable[Any] | Mapping[str, Any], *, train: bool = False) -> None:
        self.meters = meters(metrics)
        self.measures = [meter.given for meter in self.meters]
        self.modules = [m.metric for m in self.meters if _moves(m)]
        self.train, self._engine = train, ALONE
        self._awaited: list[str] = []  # columns of the row under way that are None as yet
        self._batches = 0  # that the meters hold of a training pass
        self._validated = self._skipped = 0  # batches of this validation: measured, and not

    @property
    def train_columns(self) -> list[str]:
        """The columns of what is measured in training, as far as they are known."""
        return [f"train_{name}" for meter in self.meters for name in meter.names if self.train]

    @property
    def gathered(self) -> dict[str, Any]:
        """What was measured of a training pass and is in no row yet, by metric.

        Raises:
            TypeError: a metric is an object that does not let itself be kept.
        """
        if not self._batches:
            return {}
        states = {str(i): meter.state_dict() for i, meter in enumerate(self.meters)}
        return {
            "batches": self._batches,
            "metrics": states,
            "awaited": list(self._awaited),
            "rank": self._engine.rank,
        }

    @gathered.setter
    def gathered(self, gathered: Mapping[str, Any]) -> None:
        for i, meter in enumerate(self.meters if gathered else ()):
            state = gathered["metrics"][str(i)]
            meter.load_state_dict(state, self._engine, rank=gathered.get("rank", 0))
        self._batches = gathered.get("batches", 0)
        self._awaited = list(gathered.get("awaited", self._awaited))

    def begin_fit(self, run: "Run") -> None:
        """Know which processes measure."""
        self._engine = run.engine
        if self.train:
            run.history.before_kept.append(self._gather)
            run.defer(partial(run.history.before_kept.remove, self._gather))

    def _gather(self) -> None:
        """Let the first process have gathered everything."""
        if self._has_trained():
            gather(self.meters, self._engine)

    def _has_trained(self) -> bool:
        """Whether the meters hold anything of a training pass, in any process."""
        batches = max(self._engine.gather(self._batches)) if self.train else 0
        if batches and not self._batches:  # this process had only batches without weight
            self._reset()
        self._batches = batches
        return batches > 0

    def begin_train(self, run: "Run") -> None:
        """Have nothing yet."""
        self._batches = 0
        if self.train:
            self._write_none(run, train=True)

    def begin_validate(self, run: "Run") -> None:
        """Start from nothing; in the middle of an epoch, write the training metrics so far."""
        self._write_train(run)
        self._reset()
        self._validated = self._skipped = 0
        self._write_none(run, train=False)

    def after_batch(self, run: "Run") -> None:
        """Count the batch, unless it was cancelled before its loss."""
        if run.training and not self.train:
            return
        if run.loss is None or not run.weight:
            self._skipped += not run.training
            return
        if not run.training:
            self._validated += 1
        else:
            if not self._batches:
                self._reset()
            self._batches += 1
        with torch.no_grad():
            for meter in self.meters:
                meter.add(run.pred, run.yb, run.weight)

    def after_train(self, run: "Run") -> None:
        """Write the values."""
        self._write_train(run)

    def after_validate(self, run: "Run") -> None:
        """Write the values, or say why there are none."""
        if not self._validated and self._engine.world == 1:
            self._warn(run)
        self._write(run, train=False)

    def after_epoch(self, run: "Run") -> None:
        """Leave out what a pass that was cut short had gathered."""
        self._batches = 0

    def _reset(self) -> None:
        for meter in self.meters:
            meter.reset()

    def _write_none(self, run: "Run", *, train: bool) -> None:
        names = [name for meter in self.meters for name in meter.names]
        self._awaited = [_column(name, run, train=train) for name in names]
        for name in self._awaited:  # stays None if the pass is cut short
            run.history.log_row(name, None)

    def _write_train(self, run: "Run") -> None:
        if self._has_trained():
            self._write(run, train=True)
            self._batches = 0

    def _write(self, run: "Run", *, train: bool) -> None:
        merge(self.meters, self._engine)
        values = {name: value for meter in self.meters for name, value in meter.values().items()}
        self.check_columns(run.loss_parts or ())  # those of a vector or a dict are known only now
        columns = {_column(name, run, train=train): value for name, value in values.items()}
        if self._awaited != list(columns):
            for name in self._awaited:
                run.history.drop(name)
        self._awaited = []
        for name, value in columns.items():
            run.history.log_row(name, value)

    def check_columns(self, parts: Iterable[str] = ()) -> None:
        """See that the metrics have columns of their own, as far as they are known.

        Args:
            parts: names of the parts of the loss, if it has some.

        Raises:
            ColumnError: two have one name, or one that is recorded already.
        """
        check_columns([name for meter in self.meters for name in meter.names], parts)

    def _warn(self, run: "Run") -> None:
        which = f" of the loader {run.valid_name!r}" if run.valid_name else ""
        batches = f"none of {self._skipped} batches" if self._skipped else "no batch"
        warnings.warn(
            f"nothing was measured in a validation{which}: {batches} had a loss and a weight above "
            f"0. So {_listed(self.meters)} is None. If there is no loss in validation, set "
            "run.loss in compute_loss, e.g. to torch.tensor(math.nan): then the metrics are "
            "measured, and valid_loss is nan.",
            stacklevel=2,
        )


def _moves(meter: Meter) -> bool:
    """Whether a metric goes to a device: a module, or an object that gathers and has ``to``."""
    return isinstance(meter.metric, nn.Module) or (
        meter.gathers and callable(getattr(meter.metric, "to", None))
    )


def _listed(meters: Iterable[Meter]) -> str:
    return ", ".join(name for meter in meters for name in meter.names)


def _column(name: str, run: "Run", *, train: bool) -> str:
    return f"train_{name}" if train else column(name, run.valid_name)

"""Metrics over the validation set, and over the training set if asked."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from lehr.callback import Callback
from lehr.events import Phase
from lehr.history import column
from lehr.metrics import meters

if TYPE_CHECKING:
    from lehr.run import Run


class Metrics(Callback):
    """Computes metrics over every validation pass; a Learner makes one of its ``metrics=``.

    A function ``(pred, target) -> scalar`` is averaged by items; an object with ``update``,
    ``compute`` and ``reset``, such as any of ``torchmetrics``, gathers in its own way. A metric of
    a pass that was cut short is None.

    Args:
        metrics: functions or objects.
        train: measure training passes as well, as ``train_<name>``: the mean over the epoch while
            the weights were changing. It costs one more reading of the predictions a batch.

    Example:
        >>> from lehr import accuracy
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[Metrics([accuracy], train=True)])
        >>> 0 <= run.history["train_accuracy"][0] <= 1
        True
    """

    phase = Phase.MEASURE

    def __init__(self, metrics: Iterable[Any], *, train: bool = False) -> None:
        self.meters = meters(metrics)
        self.train = train

    def begin_train(self, run: "Run") -> None:
        """Start from nothing."""
        self._begin(run)

    def begin_validate(self, run: "Run") -> None:
        """Start from nothing."""
        self._begin(run)

    def after_batch(self, run: "Run") -> None:
        """Count the batch, unless it was cancelled before its loss."""
        if not self._measures(run) or run.loss is None or not run.weight:
            return
        with torch.no_grad():
            for meter in self.meters:
                meter.add(run.pred, run.yb, run.weight)

    def after_train(self, run: "Run") -> None:
        """Write the values."""
        self._write(run)

    def after_validate(self, run: "Run") -> None:
        """Write the values."""
        self._write(run)

    def _begin(self, run: "Run") -> None:
        if not self._measures(run):
            return
        for meter in self.meters:
            meter.reset()
            for name in meter.names:  # stays None if the pass is cut short
                run.history.log_row(self._column(name, run), None)

    def _write(self, run: "Run") -> None:
        if not self._measures(run):
            return
        for meter in self.meters:
            for name, value in meter.values().items():
                run.history.log_row(self._column(name, run), value)

    def _measures(self, run: "Run") -> bool:
        return self.train or not run.training

    @staticmethod
    def _column(name: str, run: "Run") -> str:
        return f"train_{name}" if run.training else column(name, run.valid_name)

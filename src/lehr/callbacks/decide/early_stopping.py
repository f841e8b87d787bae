"""Ends a fit that no longer gets better."""

from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.callbacks.decide.measured import Measured, weights_of
from lehr.errors import positive_int
from lehr.events import Phase
from lehr.record.monitor import Mode, Monitor
from lehr.state.entries import ModelState
from lehr.state.snapshot import restore

if TYPE_CHECKING:
    from lehr.loop.run import Run


class EarlyStopping(Callback):
    """Stops when a column of the history was not better ``patience`` times in a row.

    Every row is judged once, when it is finished: those of epochs, and those of validations in
    between. A row whose value is None (its pass was cut short, or did not take place) counts
    neither way; ``nan`` is never better. A new fit starts anew.

    With ``restore_best`` a copy of the model is kept beside it, on its device, whenever the value
    is better, and is put back when the fit is over: by itself, by a stop or cancel, by Ctrl-C. The
    copy has the weights that were measured, also if a callback swaps others in for validations.
    After an error the model is left as it was when the error came, with the copy in
    ``best_weights``. The optimizer's state is not put back.

    Args:
        monitor: the column: ``"valid_loss"``, ``"train_loss"``, a metric, or whatever a callback
            logs outside of batches.
        patience: how many values in a row must fail to be better; at least 1. None never stops, and
            only keeps the best, with ``restore_best``.
        min_delta: a value counts as better if it is by more than this; at least 0.
        mode: whether ``"min"`` or ``"max"`` is better; None takes what the
            name tells: min for a loss or an error, max for an accuracy or an f1.
        restore_best: put the parameters and buffers of the best row back at the end.

    Attributes:
        best: the last value that was better than those before; None if there was none.
        best_epoch: the epoch of its row.
        waited: how many values in a row were not better.

    Raises:
        TypeError, ValueError: an argument cannot be used; or the history has no column of that
            name, which is found before training, or after the first validation.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> stopping = EarlyStopping(patience=2, min_delta=0.05)
        >>> run = tiny_learner().fit(20, callbacks=[stopping])
        >>> print(run.stop_reason)
        valid_loss was not better than 0.6961 (epoch 0) by more than 0.05, 2 times in a row
        (patience=2)
    """

    phase = Phase.DECIDE
    state = ("best", "best_epoch", "waited", "judged", "best_weights")
    by_length = False
    best: float | None
    best_epoch: int | None
    best_weights: dict[str, Any] | None

    def __init__(
        self,
        monitor: str = "valid_loss",
        *,
        patience: int | None = 3,
        min_delta: float = 0.0,
        mode: Mode | None = None,
        restore_best: bool = False,
    ) -> None:
        self.monitor = Monitor(monitor, mode, min_delta)
        self.monitors = (self.monitor.name,)
        self.patience = None if patience is None else positive_int("patience", patience, example=3)
        self.restore_best = restore_best
        self._measured = Measured(self.monitor)

    @property
    def keeps(self) -> tuple[int, str] | None:
        """The best epoch and its column, if its weights are put back; see `Callback`."""
        best: int | None = vars(self).get("best_epoch")  # there is none before a fit has begun
        if not self.restore_best or best is None:
            return None
        return best, self.monitor.name

    def begin_fit(self, run: "Run") -> None:
        """Know nothing yet."""
        self.best = self.best_epoch = self.best_weights = None
        self.waited = self.judged = 0

    def begin_validate(self, run: "Run") -> None:
        """Look out for the value."""
        self._measured.begin(run)

    def after_validate(self, run: "Run") -> None:
        """Keep what was measured, if it is better; judge a row that ends here, within an epoch."""
        if self.restore_best:
            self._measured.end(run, self.best)
        self._judge(run)

    def after_epoch(self, run: "Run") -> None:
        """Judge the epoch's row."""
        self._judge(run)

    def after_fit(self, run: "Run") -> None:
        """Judge the row of an epoch that was cut short; put the best model back."""
        self._judge(run)
        if self.best_weights is not None:
            restore({"model": ModelState(run.model)}, {"model": self.best_weights})
            self.best_weights = None

    def _judge(self, run: "Run") -> None:
        self.judged, values = self.monitor.judge(run, self.judged)
        measured = self._measured.take() if values else None
        for epoch, value in values:
            if not self.monitor.better(value, self.best):
                self.waited += 1
                continue
            self.best, self.best_epoch, self.waited = value, epoch, 0
            if self.restore_best:
                self.best_weights = measured or weights_of(run)
        if self.patience is not None and self.waited >= self.patience:
            run.stop(self._reason())

    def _reason(self) -> str:
        name, many = self.monitor.name, "s" * (self.waited > 1)
        times = f"{self.waited} time{many} in a row (patience={self.patience})"
        if self.best is None:
            return f"{name} was nan {times}"
        delta = self.monitor.min_delta
        margin = f" by more than {delta:g}," if delta else ""
        return (
            f"{name} was not better than {self.best:.4g} (epoch {self.best_epoch}){margin} {times}"
        )

    def __repr__(self) -> str:
        return f"EarlyStopping({self.monitor.name!r}, patience={self.patience})"

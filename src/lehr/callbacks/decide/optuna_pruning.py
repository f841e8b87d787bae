"""Reports a training to a trial of Optuna, and ends it if it promises little."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.events import Phase
from lehr.record.monitor import Mode, Monitor

if TYPE_CHECKING:
    from lehr.loop.run import Run


class OptunaPruning(Callback):
    """Reports a column of the history to a trial of Optuna, and stops the fit if it is pruned.

    Every value is reported once, when its row is finished, as step 0, 1, 2 … of the trial: of each
    epoch, or of each validation within one. Whether more or less is better is the study's
    ``direction``. After the fit, call `raise_if_pruned`, so that Optuna knows. A fit that is
    resumed goes on with the next step.

    Args:
        trial: an ``optuna.Trial``.
        monitor: the column: ``"valid_loss"``, ``"train_loss"``, a metric, or whatever a callback
            logs outside of batches.

    Attributes:
        pruned: whether the trial wanted the training to end.
        reported: how many values were reported.

    Raises:
        TypeError: ``trial`` is none.
        ValueError: the history has no column ``monitor``, which is found after the first
            validation.

    Example:
        >>> import pytest
        >>> optuna = pytest.importorskip("optuna")
        >>> from lehr.testing import tiny_learner
        >>> def objective(trial):
        ...     pruning = OptunaPruning(trial)
        ...     run = tiny_learner().fit(3, callbacks=[pruning])
        ...     pruning.raise_if_pruned()
        ...     return run.history["valid_loss"][-1]
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(direction="minimize")
        >>> study.optimize(objective, n_trials=2)
        >>> len(study.trials[0].intermediate_values)
        3
    """

    phase = Phase.DECIDE
    replays = False  # Optuna decides, by what other trials have done
    everywhere = False  # one process reports
    state = ("judged", "reported", "pruned")

    def __init__(self, trial: Any, monitor: str = "valid_loss") -> None:
        if not (hasattr(trial, "report") and hasattr(trial, "should_prune")):
            raise TypeError(
                f"trial must be a trial of Optuna; got {type(trial).__name__}. Give the one that "
                "the objective is called with: OptunaPruning(trial)."
            )
        self.trial = trial
        self.monitor = Monitor(monitor, _ANY)
        self.monitors = (self.monitor.name,)

    def begin_fit(self, run: "Run") -> None:
        """Report anew, from step 0."""
        self.judged = self.reported = 0
        self.pruned = False

    def after_validate(self, run: "Run") -> None:
        """Report a row that ends in the middle of an epoch."""
        self._report(run)

    def after_epoch(self, run: "Run") -> None:
        """Report the epoch's row."""
        self._report(run)

    def _report(self, run: "Run") -> None:
        self.judged, values = self.monitor.judge(run, self.judged)
        for _, value in values:
            self.trial.report(value, self.reported)
            self.reported += 1
        if values and not self.pruned and self.trial.should_prune():
            self.pruned = True
            run.stop(f"Optuna prunes the trial, whose {self.monitor.name} is {values[-1][1]:.4g}")

    def raise_if_pruned(self) -> None:
        """Tell Optuna that the trial was pruned; to be called after the fit, in the objective.

        Raises:
            optuna.TrialPruned: it was.
        """
        if self.pruned:
            raise import_module("optuna").TrialPruned(f"pruned at step {self.reported - 1}")

    def __repr__(self) -> str:
        return f"OptunaPruning(monitor={self.monitor.name!r})"


_ANY: Mode = "min"  # a monitor must have a direction; what is better is up to the study

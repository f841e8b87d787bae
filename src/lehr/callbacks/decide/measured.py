"""Keeps the weights that a validation measured: a callback may swap others in for it."""

from typing import TYPE_CHECKING, Any

from lehr.record.monitor import Monitor
from lehr.state.entries import ModelState
from lehr.state.snapshot import capture

if TYPE_CHECKING:
    from lehr.loop.run import Run


def weights_of(run: "Run") -> dict[str, Any]:
    """A copy of the model's parameters and buffers as they are now."""
    return capture({"model": ModelState(run.model)})["model"]


class Measured:
    """The weights of a validation whose value is better than those before.

    When a row is judged, the validation is over, and the weights may be others: those that train.
    So they are copied while they are there.

    Args:
        monitor: the column, and which value of it is better.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> measured = Measured(Monitor("valid_loss"))
        >>> run = tiny_learner().fit(0)
        >>> measured.begin(run); measured.end(run, best=None); measured.take() is None
        True
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._known = False
        self._weights: dict[str, Any] | None = None

    def begin(self, run: "Run") -> None:
        """To be called when a validation begins: a value that is there is none of it."""
        self._known = run.history.current(self.monitor.name) is not None

    def end(self, run: "Run", best: float | None) -> None:
        """To be called when it ends, as long as the weights are there."""
        now = run.history.current(self.monitor.name), self._known
        value, known = run.engine.same(now)  # as `Monitor.judge` does
        if value is not None and not known:
            better = self.monitor.better(float(value), best)
            self._weights = weights_of(run) if better else None

    def take(self) -> dict[str, Any] | None:
        """The weights, which are forgotten; None if the value came from no validation."""
        weights, self._weights = self._weights, None
        return weights

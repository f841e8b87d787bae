"""Sends the history to MLflow while the fit goes on."""

import re
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.callbacks.log.service_log import ServiceLog
from lehr.events import Phase
from lehr.record.points import Point

if TYPE_CHECKING:
    from lehr.loop.run import Run

_MOST = 1000  # metrics in one request


class MLflowLog(ServiceLog, Callback):
    """Sends everything in the history to MLflow, as metrics of one run by training batch.

    Every column of the history is a metric; characters that MLflow does not allow in names become
    ``_``. Each fit is a run of its own, and a run that is resumed goes on as the same one. Errors,
    resumed runs and the axis are treated as by `lehr.callbacks.log.service_log.ServiceLog`. A run
    that you have started yourself is left alone.

    Args:
        experiment: the experiment's name; it is made if there is none.
        tracking_uri: of the server or the store, such as ``"sqlite:///mlflow.db"``; None takes
            what MLflow is set to.
        name: of the run; None lets MLflow choose.

    Raises:
        ImportError: the package mlflow is not installed.

    Example:
        >>> import pytest, tempfile
        >>> _ = pytest.importorskip("mlflow")
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = MLflowLog("digits", tracking_uri=f"sqlite:///{folder}/mlflow.db")
        ...     run = tiny_learner().fit(1, callbacks=[log])
    """

    phase = Phase.REPORT
    replays = False
    everywhere = False
    state = ("written",)
    package = "mlflow"

    def __init__(
        self,
        experiment: str = "lehr",
        *,
        tracking_uri: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.experiment, self.tracking_uri, self.run_name = experiment, tracking_uri, name

    def connect(self, run: "Run", place: Any) -> tuple[Any, Mapping[str, int]]:
        """Make a run in the store, or find out what the run there has."""
        self._client: Any = import_module("mlflow.tracking").MlflowClient(self.tracking_uri)
        if place is None:
            found = self._client.get_experiment_by_name(self.experiment)
            number = (
                found.experiment_id if found else self._client.create_experiment(self.experiment)
            )
            made = self._client.create_run(number, run_name=self.run_name)
            self._id: str = made.info.run_id
            self._client.log_param(self._id, "seed", run.seed)
            return self._id, {}
        self._id = place
        self._client.update_run(place, status="RUNNING")
        return place, self.known()

    def known(self) -> Mapping[str, int]:
        """The last batch of each metric in the store."""
        history, names = (
            self._client.get_metric_history,
            self._client.get_run(self._id).data.metrics,
        )
        return {name: max(point.step for point in history(self._id, name)) for name in names}

    def named(self, name: str) -> str:
        """What MLflow allows."""
        return re.sub(r"[^\w./: -]", "_", name)

    def send(self, points: Sequence[Point]) -> None:
        """Log metrics, as many as a request may hold."""
        metric: Any = import_module("mlflow.entities").Metric
        now = int(time.time() * 1000)
        metrics: list[Any] = [metric(name, value, now, at) for at, name, value in points]
        for first in range(0, len(metrics), _MOST):
            self._client.log_batch(self._id, metrics=metrics[first : first + _MOST])

    def disconnect(self, failed: bool) -> None:
        """Say how the run has ended."""
        client, self._client = self._client, None  # which cannot be pickled
        client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def __repr__(self) -> str:
        return f"MLflowLog({self.experiment!r})"

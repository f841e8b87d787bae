"""Sends the history to Weights & Biases while the fit goes on."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lehr.base.paths import path_of
from lehr.callback import Callback
from lehr.callbacks.log.service_log import ServiceLog
from lehr.events import Phase
from lehr.record.points import Point

if TYPE_CHECKING:
    from lehr.loop.run import Run


class WandbLog(ServiceLog, Callback):
    """Sends everything in the history to Weights & Biases; the step there is the training batch.

    Each fit is a run of its own, and a run that is resumed goes on as the same one. Errors, resumed
    runs and the axis are treated as by `lehr.callbacks.log.service_log.ServiceLog`. A run that you
    have started yourself is left alone. The service takes no more of a batch of which it has
    something: those of the newest batch are sent when the next one comes, or the fit ends.

    Offline, a run that is resumed writes a new folder with everything from the beginning, because
    a process that is killed may leave a folder in which something is missing. The old folder is
    kept, and marked so that ``wandb sync`` leaves it out.

    Args:
        project: the project's name.
        name: of the run; None lets the service choose.
        folder: where wandb keeps its files; it must exist.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``; None takes what wandb is set to.

    Raises:
        ImportError: the package wandb is not installed.

    Example:
        >>> import pytest, tempfile
        >>> _ = pytest.importorskip("wandb")
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = WandbLog("digits", folder=folder, mode="offline")
        ...     run = tiny_learner().fit(1, callbacks=[log])
    """

    phase = Phase.REPORT
    replays = False
    everywhere = False
    state = ("written",)
    package = "wandb"
    once_a_batch = True

    def __init__(
        self,
        project: str = "lehr",
        *,
        name: str | None = None,
        folder: str | os.PathLike[str] = ".",
        mode: str | None = None,
    ) -> None:
        super().__init__()
        self.project, self.run_name, self.folder, self.mode = project, name, path_of(folder), mode

    def connect(self, run: "Run", place: Any) -> tuple[Any, Mapping[str, int]]:
        """Begin a run, or go on with it."""
        wandb: Any = import_module("wandb")
        started: Any = wandb.init(
            project=self.project,
            name=self.run_name,
            dir=str(self.folder),
            mode=self.mode,
            id=place,
            resume=None if place is None else "allow",
            reinit="create_new",
            config={"seed": run.seed},
            settings=wandb.Settings(silent=True),
        )
        self._run: Any = started
        if place is None:
            return started.id, {}
        if not started.offline:
            return place, {"": started.step - 1}
        try:
            points = self.everything(run)
            self.send(points)
        except Exception:
            started.finish(exit_code=1)  # the next attempt writes another folder
            raise
        _leave_out(self.folder, place, Path(started.dir).parent)
        return place, {point.name: point.at for point in points}

    def send(self, points: Sequence[Point]) -> None:
        """Log the numbers of each batch together."""
        for at, group in groupby(points, key=lambda point: point.at):
            self._run.log({name: value for _, name, value in group}, step=at)

    def disconnect(self, failed: bool) -> None:
        """Finish the run."""
        run, self._run = self._run, None  # which cannot be pickled
        run.finish(exit_code=int(failed))

    def __repr__(self) -> str:
        return f"WandbLog({self.project!r})"


def _leave_out(folder: Path, name: str, but: Path) -> None:
    """Mark what an earlier process has written of this run as if it had been synchronised."""
    for old in folder.glob(f"wandb/offline-run-*-{name}"):
        if old.resolve() != but.resolve():
            (old / f"run-{name}.wandb.synced").touch()

"""Shows the history in TensorBoard while the fit goes on."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lehr.base.paths import path_of
from lehr.callback import Callback
from lehr.callbacks.log.service_log import ServiceLog
from lehr.events import Phase
from lehr.record.points import Point

if TYPE_CHECKING:
    from lehr.loop.run import Run


class TensorBoardLog(ServiceLog, Callback):
    """Writes everything in the history to a folder for TensorBoard, as scalars by training batch.

    Every column of the history is a scalar. Look at it with ``tensorboard --logdir FOLDER``. What
    was logged by batch is there after 5 seconds, a row at once. Errors, resumed runs and the axis
    are treated as by `lehr.callbacks.log.service_log.ServiceLog`. Several fits with the same object
    go on where the one before ended.

    Args:
        folder: of this run; it is made if it does not exist.
        append: go on where the newest point in the folder is.

    Raises:
        ImportError: the package tensorboard is not installed.
        TypeError: ``folder`` is no path.
        FileExistsError: at the start of a fit, if the folder holds another run and ``append`` is
            false.

    Example:
        >>> import pytest, tempfile
        >>> _ = pytest.importorskip("tensorboard")
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = tiny_learner().fit(2, callbacks=[TensorBoardLog(folder)])
        ...     len(list(Path(folder).glob("*tfevents*")))
        1
    """

    phase = Phase.REPORT
    replays = False
    everywhere = False
    state = ("written",)
    package = "tensorboard"

    def __init__(self, folder: str | os.PathLike[str], *, append: bool = False) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(
                f"folder must be the path of a folder; got {folder!r}. "
                'Write e.g. TensorBoardLog("runs/first").'
            )
        super().__init__()
        self.folder, self.append = path_of(folder), append
        self._own = False

    def begin_fit(self, run: "Run") -> None:
        """See that no other run is in the folder."""
        others = not (self.append or self._own or run.resuming)
        if others and next(self.folder.glob("*tfevents*"), None) is not None:
            raise FileExistsError(
                f"TensorBoardLog does not write to {str(self.folder)!r}, which holds another run. "
                "Give another folder, or go on with it: append=True."
            )
        self._own = True
        super().begin_fit(run)

    def connect(self, run: "Run", place: Any) -> tuple[Any, Mapping[str, int]]:
        """Open a file of events; read those that are there."""
        known = _last_points(self.folder) if self.folder.exists() else {}
        self._open()
        return "there", known

    def _open(self) -> None:
        writer: Any = import_module("torch.utils.tensorboard").SummaryWriter
        self._writer: Any = writer(str(self.folder))

    def known(self) -> Mapping[str, int]:
        """The last batch of each scalar in the folder; another file is gone on with."""
        with suppress(Exception):  # a writer that has failed once fails for good
            self._writer.close()
        self._open()
        return _last_points(self.folder)

    def send(self, points: Sequence[Point]) -> None:
        """Add scalars."""
        for at, name, value in points:
            self._writer.add_scalar(name, value, at)
        self._writer.flush()

    def flush(self) -> None:
        """Write all to the file."""
        self._writer.flush()

    def disconnect(self, failed: bool) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None  # which cannot be pickled
        writer.close()

    def __repr__(self) -> str:
        return f"TensorBoardLog({str(self.folder)!r})"


def _last_points(folder: Path) -> dict[str, int]:
    """The last batch of each scalar in a folder, as TensorBoard reads it."""
    events: Any = import_module("tensorboard.backend.event_processing.event_accumulator")
    read = events.EventAccumulator(str(folder), size_guidance={events.SCALARS: 1})
    read.Reload()
    names: list[str] = read.Tags()["scalars"]
    return {name: read.Scalars(name)[-1].step for name in names}

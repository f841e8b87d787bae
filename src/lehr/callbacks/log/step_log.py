"""Hands everything that is logged by batch, and every finished row, to a file or a service."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from lehr.base.interrupts import call_uninterrupted
from lehr.callbacks.log.row_log import RowLog
from lehr.record.series import Tap

if TYPE_CHECKING:
    from lehr.loop.run import Run

_SECONDS = 5.0  # to write is to wait for the device
_MOST_BATCHES = 1 << 16  # so much is held in memory, and in a state
_MOST_WAITING = 1 << 18  # so much, where it cannot be written

Steps = Sequence[Mapping[str, Any]]


class StepLog(RowLog):
    """A `RowLog` that is handed what was logged by batch as well, without gaps.

    The other half is ``write_entries(run, steps, rows, last)``, which knows the format. What was
    logged by batch is handed over with the next row, or after 5 seconds; what is not handed over
    yet is part of the state. After an error, the batches up to it are handed over, too.

    What could not be written is tried again with the next row, and after 10, 20, 40 … seconds. As
    long as that does not help, it is kept: of more than 262,144 batches every second one, so that
    memory is bounded.
    """

    def begin_fit(self, run: "Run") -> None:
        """Open the file, and collect everything that is logged by batch."""
        self._tap = Tap(_MOST_WAITING)
        super().begin_fit(run)
        run.history.taps.append(self._tap)
        run.defer(partial(run.history.taps.remove, self._tap))
        self._wait(run, _SECONDS)
        write_rest = partial(self._write_steps, run, last=True)
        run.defer(partial(self.attempt, write_rest))  # also after an error

    def after_batch(self, run: "Run") -> None:
        """Write what was logged by the batches before, every 5 seconds."""
        if run.training and (monotonic() >= self._due or run.n_iter >= self._full):
            call_uninterrupted(partial(self._write_early, run))

    def _write_early(self, run: "Run") -> None:
        others_may_log_in = run.n_iter - 1
        before = min(others_may_log_in, run.history.complete)
        if not self.attempt(partial(self._write_steps, run, before=before)):
            self._wait(run, 2 * self._seconds)

    def mark(self) -> dict[str, Any]:
        """What `cut` needs to know: besides the file, what was logged and is not in it yet."""
        return {**super().mark(), "unwritten": self._tap.state_dict()}

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Let go of what was written after `mark` was called.

        Raises:
            ValueError: the file is not the one that was written then.
        """
        super().cut({name: value for name, value in mark.items() if name != "unwritten"})
        self._tap = getattr(self, "_tap", None) or Tap(_MOST_WAITING)
        self._tap.load_state_dict(mark["unwritten"])

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Add what was logged by batch since the rows before, and the rows."""
        self._write_steps(run, rows)

    def _write_steps(
        self,
        run: "Run",
        rows: Sequence[dict[str, Any]] = (),
        before: int = sys.maxsize,
        *,
        last: bool = False,
    ) -> None:
        if not self._is_ready(run):
            return
        run.history.gather()
        steps = self._tap.take(before)
        try:
            self.write_entries(run, steps, rows, last=last)
        except BaseException:
            self._tap.put_back(steps)
            raise
        self._wait(run, _SECONDS)

    def _wait(self, run: "Run", seconds: float) -> None:
        self._seconds, self._due = seconds, monotonic() + seconds
        self._full: float = run.n_iter + _MOST_BATCHES

    def write_entries(
        self, run: "Run", steps: Steps, rows: Sequence[dict[str, Any]], *, last: bool
    ) -> None:
        """Write steps and rows, all of them or, with an error, none; there may be none of each.

        Args:
            run: the run.
            steps: a dict for each batch, ``{"batch": number, name: value, …}``.
            rows: finished rows of the history, which come after these batches.
            last: whether nothing more comes.

        Raises:
            OSError: the file cannot be written to.
            NotImplementedError: the other half is missing.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no write_entries, so nothing would be written. Define "
            "write_entries(run, steps, rows, last)."
        )

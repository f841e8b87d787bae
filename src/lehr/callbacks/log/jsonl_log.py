"""Writes everything in the history to disk, line by line, while the fit goes on."""

import json
import sys
from collections.abc import Mapping
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.callbacks.log.row_log import RowLog
from lehr.events import Phase
from lehr.record.history import json_line
from lehr.record.series import Tap

if TYPE_CHECKING:
    from lehr.loop.run import Run

_SECONDS = 5.0  # to write is to wait for the device
_MOST_BATCHES = 1 << 16  # so much is held in memory, and in a state


class JSONLLog(RowLog, Callback):
    """Adds lines to a JSONL file with every finished row, in the format of ``History.to_jsonl``.

    First ``{"kind": "meta", …}``; then, with every finished row, what was logged by batch since the
    row before, ``{"kind": "step", "batch": …}``, and ``{"kind": "row", …}``. All is on disk when
    the event that finished the row is over, so a process that is killed leaves whole lines; what
    was logged by batch is there after 5 seconds, without gaps, however long the run. After an
    error, the batches up to it are written, too. Several fits with the same object go on in the
    same file, each with a meta line first; a run that is resumed goes on as if it had not stopped.
    A file that cannot be written during the fit is treated as by `RowLog`.

    Args:
        path: of the file; its folder must exist.
        append: go on with an existing file, which must be such a log.

    Raises:
        TypeError: ``path`` is no path.
        OSError: at the start of a fit, if the file cannot be written, or is there already and
            ``append`` is false (`FileExistsError`).
        ValueError: at the start of a fit, if the file to go on with is no such log.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "history.jsonl")
        ...     run = tiny_learner().fit(1, callbacks=[JSONLLog(path)])
        ...     [json.loads(line)["kind"] for line in path.read_text().splitlines()]
        ['meta', 'step', 'step', 'step', 'step', 'row']
    """

    phase = Phase.REPORT
    replays = False
    state = ("written",)

    def begin_fit(self, run: "Run") -> None:
        """Open the file, and collect everything that is logged by batch."""
        self._tap, self._meta_due = Tap(), True
        super().begin_fit(run)
        run.history.taps.append(self._tap)
        run.defer(partial(run.history.taps.remove, self._tap))
        self._wait(run)
        write_rest = partial(self._write_steps, run, last=True)
        run.defer(partial(self.attempt, write_rest))  # also after an error

    def begin(self, run: "Run") -> None:
        """See that the file can be gone on with; the meta data come with the first other line.

        By then a `Checkpoint` has saved the beginning. A run that ends earlier, by an error or
        because it is killed, leaves a file with nothing in it, so that it can be begun again.
        """
        self._check()
        self._meta_due = True

    def after_batch(self, run: "Run") -> None:
        """Write what was logged by the batches before, every 5 seconds."""
        if run.training and (monotonic() >= self._due or run.n_iter >= self._full):
            others_may_log_in = run.n_iter - 1
            if not self.attempt(partial(self._write_steps, run, before=others_may_log_in)):
                self._due = self._full = inf  # again with the next row

    def mark(self) -> dict[str, Any]:
        """What `cut` needs to know: besides the file, what was logged and is not in it yet."""
        own = {"unwritten": self._tap.state_dict(), "meta_due": self._meta_due}
        return {**super().mark(), **own}

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Let go of what was written after `mark` was called.

        Raises:
            ValueError: the file is not the one that was written then.
        """
        own = ("unwritten", "meta_due")
        super().cut({name: value for name, value in mark.items() if name not in own})
        self._meta_due = mark["meta_due"]
        self._tap = getattr(self, "_tap", None) or Tap()
        self._tap.load_state_dict(mark["unwritten"])

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Add what was logged by batch since the rows before, and the rows."""
        self._write_steps(run, "".join(json_line("row", row) for row in rows))

    def _write_steps(
        self, run: "Run", more: str = "", before: int = sys.maxsize, *, last: bool = False
    ) -> None:
        if not self._is_ready(run):
            return
        run.history.gather()
        steps = self._tap.take(before)
        text = "".join(json_line("step", step) for step in steps) + more
        begins = self._meta_due and bool(text or (last and run.n_iter))
        if begins:
            text = json_line("meta", run.history.meta) + text
        if text:
            try:
                self.file.write(text)
            except OSError:
                self._tap.put_back(steps)
                raise
        self._meta_due = self._meta_due and not begins
        self._wait(run)

    def _wait(self, run: "Run") -> None:
        self._due = monotonic() + _SECONDS
        self._full: float = run.n_iter + _MOST_BATCHES

    def _check(self) -> None:
        try:
            first = self.file.read().partition("\n")[0]
            known = not first or "kind" in json.loads(first)
        except (ValueError, TypeError):
            known = False
        if not known:
            raise ValueError(
                f"JSONLLog cannot go on with {str(self.file.path)!r}: its first line is no JSON "
                'object with a "kind". Give another path.'
            )

"""Writes everything in the history to disk, line by line, while the fit goes on."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.callbacks.log.step_log import StepLog, Steps
from lehr.events import Phase
from lehr.record.history import json_line

if TYPE_CHECKING:
    from lehr.loop.run import Run


class JSONLLog(StepLog, Callback):
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
    everywhere = False
    state = ("written",)

    def begin_fit(self, run: "Run") -> None:
        """Open the file, and collect everything that is logged by batch."""
        self._meta_due = True
        super().begin_fit(run)

    def begin(self, run: "Run") -> None:
        """See that the file can be gone on with; the meta data come with the first other line.

        By then a `Checkpoint` has saved the beginning. A run that ends earlier, by an error or
        because it is killed, leaves a file with nothing in it, so that it can be begun again.
        """
        self._check()
        self._meta_due = True

    def mark(self) -> dict[str, Any]:
        """What `cut` needs to know: also whether the meta data are to come yet."""
        return {**super().mark(), "meta_due": self._meta_due}

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Let go of what was written after `mark` was called.

        Raises:
            ValueError: the file is not the one that was written then.
        """
        super().cut({name: value for name, value in mark.items() if name != "meta_due"})
        self._meta_due = mark["meta_due"]

    def write_entries(
        self, run: "Run", steps: Steps, rows: Sequence[dict[str, Any]], *, last: bool
    ) -> None:
        """Add a line for each, after the meta data."""
        text = "".join(json_line("step", step) for step in steps)
        text += "".join(json_line("row", row) for row in rows)
        begins = self._meta_due and bool(text or (last and run.n_iter))
        if begins:
            text = json_line("meta", run.history.meta) + text
        if text:
            self.file.write(text)
        self._meta_due = self._meta_due and not begins

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

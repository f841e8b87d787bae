"""Writes everything in the history to disk, line by line, while the fit goes on."""

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.events import Phase
from lehr.history import json_line
from lehr.log_file import RowLog

if TYPE_CHECKING:
    from lehr.run import Run


class JSONLLog(RowLog, Callback):
    """Adds lines to a JSONL file with every finished row, in the format of ``History.to_jsonl``.

    First ``{"kind": "meta", …}``; then, with every finished row, what was logged by batch since the
    row before, ``{"kind": "step", "batch": …}``, and ``{"kind": "row", …}``. All is on disk when
    the event that finished the row is over, so a process that is killed leaves whole lines; after
    an error, the batches up to it are written, too. Several fits with the same object go on in the
    same file, each with a meta line first.

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

    def begin_fit(self, run: "Run") -> None:
        """Open the file and write the meta data."""
        self._batch = 0
        super().begin_fit(run)
        self._check()
        self.file.write(json_line("meta", run.history.meta))
        run.defer(partial(self._write_steps, run))  # what is left, also after an error

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Add what was logged by batch since the rows before, and the rows."""
        self._write_steps(run, "".join(json_line("row", row) for row in rows))

    def _write_steps(self, run: "Run", more: str = "") -> None:
        steps = run.history.steps(since=self._batch)
        self._batch = steps[-1]["batch"] + 1 if steps else self._batch
        self.file.write("".join(json_line("step", step) for step in steps) + more)

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

"""What the large tier found, written where the benchmarks write theirs."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from tests.tier import NIGHTLY

from ..programs import program

RESULTS = Path(__file__).parents[2] / "bench" / "results.py"


def keep(what: str, name: str, row: dict[str, Any], names: Iterable[str]) -> None:
    """Put one row into a file of figures, with today's date, if this is the large tier.

    The other rows stay as they were found last, so that one part can be run alone.

    Args:
        what: the file.
        name: the row.
        row: its figures.
        names: all rows there have to be; others go.
    """
    if not NIGHTLY:
        return
    import fcntl  # not on every system

    results = program(RESULTS)
    with RESULTS.open() as lock:  # the tests of a file may run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = results.newest_rows(what) | {name: {"date": str(date.today()), **row}}
        expected = list(names)
        rows = {name: rows[name] for name in expected if name in rows}
        results.write(what, rows, {"tier": "large", "rows": expected})


class Tally:
    """Counts what many tests tried and what was wrong, as one row of a file.

    The row is kept when as many were tried as there are: a part that is run alone writes nothing.

    Args:
        what: the file, and its only row.
        trials: what one trial is called.
        wrong: what a trial that failed is called.
        of: how many trials there are.
    """

    def __init__(self, what: str, trials: str, wrong: str, of: int) -> None:
        self.what, self.trials, self.wrong, self.of = what, trials, wrong, of
        self.row = {trials: 0, wrong: 0}

    def add(self, *, good: bool, **more: int) -> None:
        """Count one trial, and whatever else is counted."""
        for name, number in {self.trials: 1, self.wrong: int(not good), **more}.items():
            self.row[name] = self.row.get(name, 0) + number
        if self.row[self.trials] == self.of:
            keep(self.what, self.what, self.row, [self.what])

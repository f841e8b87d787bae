"""``lehr watch``: a training as it goes on, seen from another terminal."""

import webbrowser
from pathlib import Path
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from lehr.base.paths import path_of
from lehr.cli.app import (
    FAILURE,
    USAGE,
    Debug,
    app,
    errors,
    is_terminal,
    overwrite,
    say,
    terminal_width,
)
from lehr.cli.options import complete_run

if TYPE_CHECKING:
    from lehr.report import RunRecord

_LOOK = 1.0  # seconds between two looks at the dates of the files
_SHARE = 10  # times what it takes to read and draw, until that is done again
_WRITTEN = ("config.json", "history.jsonl")


@app.command(epilog="Example: lehr watch runs/digits-20260101-120000")
def watch(
    run: Annotated[
        Path | None,
        Argument(
            metavar="RUN",
            help="A run folder, as lehr train makes it; else the newest in runs.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ] = None,
    page: Annotated[bool, Option(help="Keep the run's report.html up to date, too.")] = True,
    show: Annotated[bool, Option("--open", help="Open report.html in a browser.")] = False,
    debug: Debug = False,
) -> None:
    """Show the epochs of a run as they come, until it ends, and keep its report up to date.

    It only reads what the run has written, so it can be begun and ended at any time. The report
    refreshes itself in a browser.
    """
    with errors(debug, code=USAGE):
        path = newest_run() if run is None else run
    with errors(debug, code=FAILURE):
        _watch(path, page=page, show=show)


def newest_run(parent: str | Path = "runs") -> Path:
    """The run folder that was begun last.

    Args:
        parent: where run folders are.

    Raises:
        FileNotFoundError: there is none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("digits-20260101-120000", "mnist-20260101-120500"):
        ...         Path(folder, name).mkdir()
        ...         _ = Path(folder, name, "environment.json").write_text("{}")
        ...         _ = Path(folder, name, "config.json").write_text("{}")
        ...     newest_run(folder).name
        'mnist-20260101-120500'
    """
    begun = [file.parent for file in path_of(parent).glob("*/config.json")]
    if not begun:
        raise FileNotFoundError(
            f"there is no run folder in {parent}. Give the path of one: lehr watch RUN."
        )
    return max(begun, key=_begun)


def _begun(run: Path) -> tuple[float, str]:
    """When a run folder was made, by the file that is written once."""
    file = run / "environment.json"
    return (file if file.is_file() else run / "config.json").stat().st_mtime, run.name


def _watch(path: Path, *, page: bool, show: bool) -> None:
    from lehr.report import RunRecord
    from lehr.report.outcome import verdict

    table, line = _Table(), _Line()
    record = RunRecord.read(path)
    drawing = _Page(path / "report.html") if page and record.status == "running" else None
    say(f"{record.title}, in {path}")
    if drawing is not None:
        say(f"report: {drawing.file} (refreshes itself in a browser)")
        if show:  # there must be something to open
            drawing.show(record)
    if show and (path / "report.html").is_file():
        webbrowser.open((path / "report.html").resolve().as_uri())
    try:
        while True:
            begin, seen = monotonic(), _dates(path)
            record = RunRecord.read(path)
            end = monotonic()
            again = end + _SHARE * (end - begin)
            line.clear()
            table.show(record.rows)
            if drawing is not None:
                drawing.show(record)
            if record.status != "running":
                break
            while _dates(path) == seen or monotonic() < again:
                line.show(_last_words(record, seen))
                if drawing is not None:
                    drawing.show(record)
                sleep(_LOOK)
    finally:
        line.clear()
    say(verdict(record))
    if (path / "report.html").is_file():
        say(f"report: {path / 'report.html'}")


class _Page:
    """The report, drawn anew where something is new, but not all the time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.shown: RunRecord | None = None
        self.due = 0.0

    def show(self, record: "RunRecord") -> None:
        """Write what is not yet shown, if it is time; at the end it is always time."""
        from lehr.report.page import report, write_page

        begin = monotonic()
        if record is self.shown or (record.status == "running" and begin < self.due):
            return
        write_page(self.file, report(record))
        end = monotonic()
        self.shown, self.due = record, end + _SHARE * (end - begin)


def _dates(path: Path) -> tuple[float, ...]:
    """When each file that a run goes on writing was last written."""
    files = (path / name for name in _WRITTEN)
    return tuple(file.stat().st_mtime if file.is_file() else 0.0 for file in files)


def _last_words(record: "RunRecord", dates: tuple[float, ...]) -> str:
    """Where a run is, by what it has written last."""
    from lehr.base.rows import cell
    from lehr.report.words import duration

    age = max(0.0, time() - max(dates))
    logged = {
        name: record.series[name].values[-1] for name in ("loss", "lr") if name in record.series
    }
    facts = [f"{record.batches:,} batches" if record.batches else "nothing written yet"]
    facts += [f"{name} {cell(name, value)}" for name, value in logged.items()]
    ago = duration(age) if age >= 60 else f"{age:.0f} s"
    old = ", if it was not killed" if age >= 60 else ""
    return f"running{old}: {', '.join([*facts, f'written {ago} ago'])}"


class _Table:
    """Rows, each printed once; if a resumed run has gone back, what it made anew comes again."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.shown: list[dict[str, Any]] = []

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Print what is new."""
        from lehr.base.rows import columns, fitting, header, line

        same = 0
        while same < min(len(rows), len(self.shown)) and rows[same] == self.shown[same]:
            same += 1
        if same < len(self.shown):
            say(f"the run went back to its row {same}")
        if rows and not self.names:
            self.names = fitting(columns(rows[0]), terminal_width() or 10**6)
            say(header(self.names))
        for row in rows[same:]:
            say(line(self.names, row))
        self.shown = list(rows)


class _Line:
    """A line at the end of a terminal that is written over again; elsewhere nothing."""

    def __init__(self) -> None:
        import sys

        self.there, self.live = False, is_terminal(sys.stdout)

    def show(self, text: str) -> None:
        """Put ``text`` in the place of what is there."""
        if self.live:
            overwrite(text)
            self.there = True

    def clear(self) -> None:
        """Make room for other lines."""
        if self.there:
            overwrite("")
            self.there = False

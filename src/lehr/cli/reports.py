"""Commands that make pages of runs: ``report`` and ``compare``."""

from pathlib import Path
from typing import Annotated

from typer import Option

from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, say, terminal_width


@app.command(epilog="Example: lehr report runs/digits-20260101-120000")
def report(run: options.Run, debug: Debug = False) -> None:
    """Write a run's report, one HTML file that needs nothing else, and say where it is."""
    from lehr.report import write_report

    with errors(debug, code=FAILURE):
        say(f"report: {write_report(run)}")


@app.command(epilog="Example: lehr compare runs/first runs/second")
def compare(
    first: options.Run,
    second: options.Run,
    out: Annotated[
        Path | None, Option(help="The page to write; else comparison.html in the second run.")
    ] = None,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Say what differs between two runs and where they part, and write a page that shows it."""
    from lehr.report import RunRecord, write_comparison
    from lehr.report.compare import compare as comparison

    with errors(debug, code=USAGE):
        options.check_out(out, overwrite=overwrite)
    with errors(debug, code=FAILURE):
        a, b = RunRecord.read(first), RunRecord.read(second)
        say(comparison(a, b).text(terminal_width()))
        page = write_comparison(first, second, out or second / "comparison.html")
        say(f"comparison: {page}")

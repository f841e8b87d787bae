"""``report.html``: one run, on one page, in one file."""

import os
import shlex
from pathlib import Path
from typing import Any, cast

from lehr.monitor import more_is_better
from lehr.report import classes
from lehr.report.curves import figure, loss_panel, metric_panels, scheduled_panels
from lehr.report.markup import Html, join, table, tag
from lehr.report.outcome import timing, verdict
from lehr.report.record import RunRecord
from lehr.report.resumes import longer_commands, resumes
from lehr.report.sheet import prose, section, sheet
from lehr.report.words import best, date, duration, flat, number, percent, setting
from lehr.table import cell, columns

_LONG = 24  # rows of a table that are shown unasked


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into a run folder: a page that needs no network and no other file.

    It shows what there is, also of a training that failed at once or still runs.

    Args:
        path: the run folder.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no run folder.
        ValueError: one of its files is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"status": "failed"}')
        ...     write_report(folder).name
        'report.html'
    """
    record = RunRecord.read(path)
    target = record.path / "report.html"
    write_page(target, report(record))
    return target


def write_page(target: Path, page: str) -> None:
    """Write a page so that a reader never meets half of it."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def report(record: RunRecord) -> str:
    """The page of a run, as HTML text; the same record gives the same text.

    Example:
        >>> empty = dict(environment={}, series={}, evaluation=None, weights=None, rows=[])
        >>> page = report(RunRecord(path=Path("x"), config={"settings": {"data": "a<b"}}, **empty))
        >>> "<h1>a&lt;b</h1>" in page
        True
    """
    return sheet(
        f"{record.title} – report",
        _head(record),
        section("What was run", what_was_run(record)),
        section("Curves", _curves(record)),
        section("Epochs", epochs(record)),
        _classification(record),
        section("Time", _time(record)),
        section("Environment", _facts(flat(record.environment), "Versions and hardware.")),
        section("How to run it again", _again(record)),
        tag("footer", f"Written by lehr {record.config.get('lehr', '')} from {record.name}."),
    )


def _head(record: RunRecord) -> Html:
    error, reason = record.config.get("error"), record.config.get("stop_reason")
    return tag(
        "header",
        tag("p", "Training report", class_="kicker"),
        tag("h1", record.title),
        tag("p", f"{date(record.config.get('started'))} · {record.name}", class_="byline"),
        tag("p", verdict(record), class_=f"verdict {_status_class(record)}"),
        tag("p", f"It was stopped: {reason}.") if reason else None,
        tag("pre", error, class_="alarm") if error else None,
    )


def _status_class(record: RunRecord) -> str:
    known = record.status in ("finished", "interrupted", "failed", "running")
    return f"status-{record.status}" if known else ""


def what_was_run(record: RunRecord) -> Html | None:
    """The settings, and how items were prepared, as tables."""
    told = {k: v for k, v in flat(record.settings).items() if k != "command"}
    if "seed" not in told and record.config.get("seed") is not None:
        told["seed"] = record.config["seed"]
    preparation = record.config.get("preparation")
    folded = None
    if isinstance(preparation, dict) and preparation:
        inner = _facts(flat(cast("dict[str, Any]", preparation)), "How items were prepared.")
        folded = tag("details", tag("summary", "How items were prepared"), inner)
    return join(_facts(told, "Settings."), folded) or None


def _facts(told: dict[str, Any], caption: str) -> Html | None:
    rows = [[key, _short(setting(value))] for key, value in told.items()]
    return table([], rows, caption=caption, class_="book facts") if rows else None


def _short(words: str, most: int = 600) -> str:
    return words if len(words) <= most else f"{words[:most]}… ({len(words):,} characters)"


def _curves(record: RunRecord) -> Html | None:
    losses, metrics = loss_panel(record), metric_panels(record)
    scheduled = scheduled_panels(record)
    first = [losses] if losses.lines else []
    few = len(metrics) <= 3
    return (
        join(
            figure(
                [*first, *(metrics if few else [])],
                "Loss" + (" by training batch" if "loss" in record.series else "")
                + (", and what was measured on the validation set." if few and metrics else "."),
                name="loss",
            ),
            None if few else figure(metrics, "What was measured.", name="metric", small=True),
            figure(
                scheduled,
                "Everything else that was recorded with every training batch.",
                name="series",
                small=True,
            ),
        )
        or None
    )  # fmt: skip


def epochs(record: RunRecord) -> Html | None:
    """The rows of the history; folded when there are many."""
    merged: dict[str, Any] = {}
    for row in record.rows:
        merged.update(row)
    names = columns(merged)
    if not names:
        return None
    marked = {name: _best_row(record, name) for name in names}
    rows = [
        [
            tag("span", cell(name, row.get(name)), class_="best" if marked[name] == i else None)
            for name in names
        ]
        for i, row in enumerate(record.rows)
    ]
    head = ["time" if name == "seconds" else name.replace("_", " ") for name in names]
    caption = "Each epoch; epochs count from 0. The best value of a column is bold."
    made = table(head, [[*row] for row in rows], caption=caption, class_="book numbers")
    if len(rows) <= _LONG:
        return made
    return tag("details", tag("summary", f"All {len(rows)} rows"), made)


def _best_row(record: RunRecord, name: str) -> int | None:
    rises = more_is_better(name)
    return None if rises is None or len(record.rows) < 2 else best(record.column(name), rises)


def _classification(record: RunRecord) -> Html | None:
    found = record.evaluation
    if found is None:
        return None
    right = int(found.confusion.diagonal().sum())
    loss = "" if found.loss is None else f", at a mean loss of {number(found.loss)}"
    drawn = classes.matrix(found)
    said = prose(
        f"Of {found.items:,} validation items, {right:,} were put into their right class "
        f"({percent(found.accuracy)}){loss}, by the weights that the run left behind."
    )
    caption = (
        "Confusion matrix: true classes in rows, given classes in columns. Blue is right, red is "
        "wrong; the stronger, the larger the share of its row."
    )
    shown_matrix = drawn and tag("figure", drawn, tag("figcaption", caption))
    return join(
        section(
            "Classes",
            said,
            shown_matrix,
            classes.confused_pairs(found),
            classes.class_table(found),
        ),
        section("Worst mistakes", classes.mistakes(found)),
    )


def _time(record: RunRecord) -> Html | None:
    took = timing(record)
    rows: list[list[Any]] = []
    if took.wall is not None:
        stops = len(resumes(record.config))
        with_stops = f", with {stops} stop{'s' * (stops != 1)}" if stops else ""
        rows.append([f"from start to end{with_stops}", duration(took.wall)])
    if took.epochs:
        rows.append(["all epochs, validation included", duration(sum(took.epochs))])
        rows.append(["an epoch, on average", duration(sum(took.epochs) / len(took.epochs))])
    if len(took.epochs) > 1:
        rows.append(["the first epoch", duration(took.epochs[0])])
        rows.append(["the slowest epoch", duration(max(took.epochs))])
    if (rate := took.batches_per_second) is not None:
        rows.append(["training batches", f"{took.batches:,}"])
        rows.append(["batches per second", f"{rate:,.1f}"])
        size = record.settings.get("batch_size")
        if isinstance(size, int) and size > 0:
            rows.append(["items per second, about", f"{rate * size:,.0f}"])
    return table([], rows, caption="Time.", class_="book facts numbers") if rows else None


def _again(record: RunRecord) -> Html:
    command = record.settings.get("command")
    shown_command: Any = None
    if isinstance(command, str):
        shown_command = command
    elif isinstance(command, list):
        shown_command = shlex.join(map(str, cast("list[Any]", command)))
    seed = record.settings.get("seed", record.config.get("seed"))
    if shown_command:
        shown_command = "\n".join([shown_command, *longer_commands(record.config, record.name)])
    return join(
        tag("pre", shown_command) if shown_command else None,
        prose(
            f"lehr {record.config.get('lehr', 'of an unknown version')}, seed {setting(seed)}, and "
            "the settings above. The order of the data and every random draw follow from the seed; "
            "the numbers repeat bit for bit on the same versions, hardware and number of threads."
        ),
        prose("The weights are in ", tag("code", record.weights.name), ", beside this page.")
        if record.weights
        else None,
    )

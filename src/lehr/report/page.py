"""``report.html``: one run, on one page, in one file."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from lehr.base.files import replace_file, save_file
from lehr.base.rows import cell, columns
from lehr.record.monitor import more_is_better
from lehr.report import classes, layer_figures, regression_figures
from lehr.report.costs import cost_rows
from lehr.report.curves import (
    figure,
    loss_panel,
    metric_panels,
    scheduled_panels,
    sweep_panel,
)
from lehr.report.first_items import FirstItem
from lehr.report.outcome import timing, verdict
from lehr.report.record import RunRecord
from lehr.report.render import marked, page, part
from lehr.report.resumes import longer_commands, resumes
from lehr.report.words import best, date, duration, flat, setting

_REFRESH_SECONDS = 10  # of a page whose training goes on


def write_report(path: str | Path, config: dict[str, Any] | None = None) -> Path:
    """Write ``report.html`` into a run folder: a page that needs no network and no other file.

    It shows what there is, also of a training that failed at once or still runs. As long as it
    runs, the page refreshes itself in a browser.

    Args:
        path: the run folder.
        config: in the place of what ``config.json`` says, which is still to be written.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no run folder.
        ValueError: ``config.json`` is damaged; what else is damaged is left out, with a warning.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"status": "failed"}')
        ...     write_report(folder).name
        'report.html'
    """
    record = RunRecord.read(path)
    record = record if config is None else replace(record, config=config)
    target = record.path / "report.html"
    write_page(target, report(record))
    return target


def write_page(target: Path, text: str, *, follow: bool = False) -> None:
    """Write a page so that a reader never meets half of it; a link is replaced, or followed."""
    write = save_file if follow else replace_file
    write(target, text.encode("utf-8"))


def report(record: RunRecord) -> str:
    """The page of a run, as HTML text; the same record gives the same text.

    Example:
        >>> empty = dict(environment={}, series={}, evaluation=None, weights=None, rows=[])
        >>> page = report(RunRecord(path=Path("x"), config={"settings": {"data": "a<b"}}, **empty))
        >>> "<h1>a&lt;b</h1>" in page
        True
    """
    config, evaluation = record.config, record.evaluation
    kept = config.get("preparation")
    preparation = cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}
    head, rows = _epochs(record)
    return page(
        "report.html",
        title=record.title,
        name=record.name,
        date=date(config.get("started") or config.get("ended")),
        status=_status_class(record),
        refresh=_REFRESH_SECONDS if record.status == "running" else None,
        verdict=verdict(record),
        stop_reason=config.get("stop_reason"),
        error=config.get("error"),
        settings=_facts(_settings(record)),
        preparation=_facts(flat(preparation)),
        first_items=first_batch(record.first_items),
        curves=_curves(record),
        layers=layer_figures.figures(record.layers),
        epochs_head=head,
        epochs=rows,
        evaluation=evaluation,
        regression=record.regression,
        regression_figures=record.regression and regression_figures.figures(record.regression),
        largest_errors=record.regression and regression_figures.largest_errors(record.regression),
        right=evaluation and int(evaluation.confusion.diagonal().sum()),
        matrix=evaluation and classes.matrix(evaluation),
        confused_pairs=evaluation and classes.confused_pairs(evaluation),
        class_table=evaluation and classes.class_table(evaluation),
        mistakes=evaluation and classes.mistakes(evaluation),
        right_items=evaluation and classes.right(evaluation),
        times=_times(record),
        environment=_facts(flat(record.environment)),
        command="\n".join(_commands(record)),
        version=config.get("lehr"),
        seed=setting(record.settings.get("seed", config.get("seed"))),
        weights=record.weights and record.weights.name,
    )


def first_batch(items: Sequence[FirstItem]) -> Markup | None:
    """Items of the first batch as a grid of pictures, or of words; None if there are none."""
    pictured = any(item.picture is not None for item in items)
    return part("classes.html", "first_items", items, pictured) if items else None


def _status_class(record: RunRecord) -> str:
    known = record.status in ("finished", "interrupted", "failed", "running")
    return f"status-{record.status}" if known else ""


def _settings(record: RunRecord) -> dict[str, Any]:
    settings = flat(record.settings)
    settings.pop("command", None)  # it is shown by itself
    if "seed" not in settings and record.config.get("seed") is not None:
        settings["seed"] = record.config["seed"]
    return settings


def _facts(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, _short(setting(value))) for key, value in settings.items()]


def _short(words: str, most: int = 600) -> str:
    return words if len(words) <= most else f"{words[:most]}… ({len(words):,} characters)"


def _curves(record: RunRecord) -> list[Markup | None]:
    losses, metrics = loss_panel(record), metric_panels(record)
    few, sweep = len(metrics) <= 3, sweep_panel(record)
    where = " by training batch" if "loss" in record.series else ""
    rest = ", and what was measured on the validation set" if few and metrics else ""
    return [
        figure(
            [*([losses] if losses.lines else []), *(metrics if few else [])],
            f"Loss{where}{rest}.",
            name="loss",
        ),
        None if few else figure(metrics, "What was measured.", name="metric", small=True),
        figure(
            scheduled_panels(record),
            "Everything else that was recorded with every training batch.",
            name="series",
            small=True,
        ),
        figure(
            [] if sweep is None else [sweep],
            "The training loss while the rate rose, before the training; then all was put back. "
            "Where it leaves the plot upwards, the rate was too high.",
            name="sweep",
        ),
    ]


def _epochs(record: RunRecord) -> tuple[list[str], list[list[Markup]]]:
    """The columns of the history and its rows, the best of a column in bold type."""
    merged: dict[str, Any] = {}
    for row in record.rows:
        merged.update(row)
    names = columns(merged)
    best_rows = {name: _best_row(record, name) for name in names}
    rows = [
        [marked(cell(name, row.get(name)), best=best_rows[name] == i) for name in names]
        for i, row in enumerate(record.rows)
    ]
    return ["time" if name == "seconds" else name.replace("_", " ") for name in names], rows


def _best_row(record: RunRecord, name: str) -> int | None:
    rises = more_is_better(name)
    return None if rises is None or len(record.rows) < 2 else best(record.column(name), rises)


def _times(record: RunRecord) -> list[tuple[str, str]]:
    took = timing(record)
    rows: list[tuple[str, str]] = []
    if took.wall is not None:
        stops = len(resumes(record.config))
        with_stops = f", with {stops} stop{'s' * (stops != 1)}" if stops else ""
        rows.append((f"from start to end{with_stops}", duration(took.wall)))
    if record.sweep is not None:
        rows.append(("the search for a learning rate, before", duration(record.sweep.seconds)))
    if took.epochs:
        rows.append(("all epochs, validation included", duration(sum(took.epochs))))
        rows.append(("an epoch, on average", duration(sum(took.epochs) / len(took.epochs))))
    if len(took.epochs) > 1:
        rows.append(("the first epoch", duration(took.epochs[0])))
        rows.append(("the slowest epoch", duration(max(took.epochs))))
    if (rate := took.batches_per_second) is not None:
        rows.append(("training batches", f"{took.batches:,}"))
        rows.append(("batches per second", f"{rate:,.1f}"))
        size = record.settings.get("batch_size")
        if isinstance(size, int) and size > 0:
            rows.append(("items per second, about", f"{rate * size:,.0f}"))
    return rows + cost_rows(record.config)


def _commands(record: RunRecord) -> list[str]:
    """What to type to have the run again; nothing if that is not known."""
    command = record.settings.get("command")
    if isinstance(command, list):
        command = shlex.join(map(str, cast("list[Any]", command)))
    if not isinstance(command, str) or not command:
        return []
    return [command, *longer_commands(record.config, record.name)]

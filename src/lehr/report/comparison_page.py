"""``comparison.html``: two runs on one page, in one file."""

import math
from pathlib import Path
from typing import Any

from lehr.monitor import more_is_better
from lehr.report import classes
from lehr.report.compare import (
    Comparison,
    Difference,
    agreement_words,
    compare,
    difference_words,
    where_they_part,
)
from lehr.report.curves import Panel, by_row, by_step, epochs_are_rows, figure, loss_panel
from lehr.report.markup import Html, join, table, tag
from lehr.report.outcome import Score, shown, verdict
from lehr.report.page import write_page
from lehr.report.plots import Line
from lehr.report.record import RunRecord
from lehr.report.sheet import prose, section, sheet
from lehr.report.words import best, date, duration, percent


def write_comparison(a: str | Path, b: str | Path, path: str | Path) -> Path:
    """Write the comparison of two run folders as a page that needs no network and no other file.

    Args:
        a: a run folder.
        b: another.
        path: of the page; the folder that it goes into must be there.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no such run folder, or no folder to write into.
        ValueError: a file of one is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"status": "failed"}')
        ...     write_comparison(folder, folder, Path(folder, "comparison.html")).name
        'comparison.html'
    """
    target = Path(path)
    found = compare(a, b)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path must lie in a folder that is there; got {target}. Make {target.parent} first."
        )
    write_page(target, comparison_page(found))
    return target


def comparison_page(found: Comparison) -> str:
    """The page of a comparison, as HTML text."""
    a, b = found.a, found.b
    return sheet(
        f"{a.name} and {b.name} – comparison",
        _head(found),
        section(
            "What was different",
            _differences(found.settings, "Settings that differ."),
            _differences(found.environment, "Versions and hardware that differ."),
        ),
        section("Where they part", prose(where_they_part(found)), _only(found)),
        section("What came of it", _scores(found), _curves(a, b)),
        section("Classes", _classes(found)),
        section("Time", _times(found)),
        tag("footer", f"The first run is {a.path}, the second {b.path}."),
    )


def _head(found: Comparison) -> Html:
    runs = [
        tag(
            "p",
            tag("span", f"{letter}  ", class_="byline"),
            tag("strong", run.name),
            f", {run.title}, {date(run.config.get('started'))}. {verdict(run)}",
        )
        for letter, run in (("a", found.a), ("b", found.b))
    ]
    return tag(
        "header",
        tag("p", "Two trainings compared", class_="kicker"),
        tag("h1", f"{found.a.name} and {found.b.name}"),
        *runs,
    )


def _differences(pairs: tuple[Difference, ...], caption: str) -> Html:
    if not pairs:
        return prose(f"{caption.removesuffix(' that differ.')}: no difference.")
    rows = [[pair.name, difference_words(pair.a), difference_words(pair.b)] for pair in pairs]
    return table(["", "a", "b"], [[*row] for row in rows], caption=caption, class_="book facts")


def _only(found: Comparison) -> Html | None:
    told = [
        f"Only {letter} recorded {', '.join(names)}."
        for letter, names in (("a", found.only_a), ("b", found.only_b))
        if names
    ]
    return prose(" ".join(told)) if told else None


def _scores(found: Comparison) -> Html | None:
    rows: list[list[Any]] = []
    for a, b in found.scores:
        name = (a or b or Score("", None, None, None)).name
        rows.append([name.replace("_", " "), *_pair(name, a and a.final, b and b.final)])
        rows[-1] += _pair(name, a and a.best, b and b.best)
    head = ["", "a", "b", "b − a", "best of a", "best of b", "b − a"]
    caption = "At the end, and at the best; the better of two is bold."
    return table(head, rows, caption=caption, class_="book numbers") if rows else None


def _pair(name: str, a: float | None, b: float | None) -> list[Any]:
    rises = more_is_better(name)
    alike = a is None or b is None or math.isclose(a, b, rel_tol=1e-6)
    winner = None if rises is None or alike else best([a, b], rises)
    cells: list[Any] = [
        tag("span", shown(name, value), class_="best" if winner == i else None)
        for i, value in enumerate((a, b))
    ]
    if a is None or b is None:
        return [*cells, "–"]
    in_points = shown(name, a).endswith("%") and shown(name, b).endswith("%")
    apart = f"{100 * (b - a):+.2f} points" if in_points else f"{b - a:+.4f}"
    return [*cells, "0" if alike else apart.replace("-", "−")]


def _curves(a: RunRecord, b: RunRecord) -> Html | None:
    losses: list[Line] = []
    for color, letter, run in ((0, "a", a), (1, "b", b)):
        for line in loss_panel(run).lines:
            if line.kind == "raw" and len(line.x) > 40:
                continue  # two noisy lines would hide each other
            held = "validation" in line.label
            label = f"{letter}, {line.label}"
            losses.append(Line(label, line.x, line.y, color, line.kind, dashed=held))
    panels = [Panel("loss", "training batch", losses, log=True)] if losses else []
    by_epoch = epochs_are_rows(a) and epochs_are_rows(b)
    draw, xlabel = (by_row, "epoch") if by_epoch else (by_step, "training batch")
    for name in {**dict.fromkeys(a.metrics), **dict.fromkeys(b.metrics)}:
        runs = [(run, i) for i, run in enumerate((a, b)) if name in run.metrics]
        panels.append(Panel(name, xlabel, [draw(run, name, "ab"[i], i) for run, i in runs]))
    for name in [name for name in a.series if name != "loss" and name in b.series]:
        lines = [
            Line(letter, *run.series[name], color, dashed=color == 1)
            for color, letter, run in ((0, "a", a), (1, "b", b))
        ]
        panels.append(Panel(name, "training batch", lines))
    return figure(panels, "Both runs: a in blue, b in red.", name="both", small=len(panels) > 4)


def _classes(found: Comparison) -> Html | None:
    matrices: list[Html] = []
    for letter, run in (("a", found.a), ("b", found.b)):
        evaluation = run.evaluation
        drawn = None if evaluation is None else classes.matrix(evaluation)
        if evaluation is not None and drawn is not None:
            title = f"{letter}: {percent(evaluation.accuracy)} of {evaluation.items:,} items"
            matrices.append(tag("div", tag("h3", title), drawn))
    caption = "Confusion matrices: true classes in rows, given classes in columns."
    pictured = (
        tag("figure", tag("div", *matrices, class_="pair"), tag("figcaption", caption))
        if matrices
        else None
    )
    said = None if found.agreement is None else prose(agreement_words(found.agreement))
    return join(said, pictured, _recalls(found)) or None


def _recalls(found: Comparison) -> Html | None:
    a, b = found.a.evaluation, found.b.evaluation
    if a is None or b is None or a.classes != b.classes or len(a.classes) > classes.MOST_CELLS:
        return None
    pairs = zip(a.classes, a.recall(), b.recall(), strict=True)
    rows = [[name, percent(x), percent(y), _points(x, y)] for name, x, y in pairs]
    caption = "Recall of each class; the difference in percentage points."
    return table(
        ["class", "a", "b", "b − a"], [[*r] for r in rows], caption=caption, class_="book numbers"
    )


def _points(a: float | None, b: float | None) -> str:
    return "–" if a is None or b is None else f"{100 * (b - a):+.1f}".replace("-", "−")


def _times(found: Comparison) -> Html:
    a, b = found.times
    rows = [
        ["from start to end", duration(a.wall), duration(b.wall)],
        ["all epochs", *(duration(sum(t.epochs)) if t.epochs else "–" for t in (a, b))],
        ["epochs", str(len(a.epochs)), str(len(b.epochs))],
        ["training batches", f"{a.batches:,}", f"{b.batches:,}"],
        ["batches per second", *(_rate(t.batches_per_second) for t in (a, b))],
    ]
    return table(["", "a", "b"], [[*row] for row in rows], caption="Time.", class_="book numbers")


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"

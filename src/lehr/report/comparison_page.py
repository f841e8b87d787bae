"""``comparison.html``: two runs on one page, in one file."""

import math
from pathlib import Path

from markupsafe import Markup

from lehr.base.files import resolved
from lehr.base.paths import path_of
from lehr.record.monitor import more_is_better
from lehr.report import classes
from lehr.report.compare import (
    OTHER_DATA,
    Comparison,
    Difference,
    agreement_words,
    compare,
    difference_words,
    where_they_part,
)
from lehr.report.curves import Panel, by_row, by_step, epochs_are_rows, figure, loss_panel
from lehr.report.evaluation import Evaluation
from lehr.report.outcome import Score, Timing, shown, verdict
from lehr.report.page import write_page
from lehr.report.plots import Line
from lehr.report.record import RunRecord
from lehr.report.render import marked, page
from lehr.report.words import best, duration, percent


def write_comparison(a: str | Path, b: str | Path, path: str | Path) -> Path:
    """Write the comparison of two run folders as a page that needs no network and no other file.

    Args:
        a: a run folder.
        b: another.
        path: of the page; the folder that it goes into must be there. A link is followed, unless
            it lies in one of the run folders, whose files are lehr's own: there the page takes its
            place.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no such run folder, or no folder to write into.
        ValueError: the ``config.json`` of one is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"status": "failed"}')
        ...     write_comparison(folder, folder, Path(folder, "comparison.html")).name
        'comparison.html'
    """
    target = path_of(path)
    comparison = compare(a, b)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path must lie in a folder that is there; got {target}. Make {target.parent} first."
        )
    inside = resolved(target.parent) in (resolved(path_of(a)), resolved(path_of(b)))
    write_page(target, comparison_page(comparison), follow=not inside)
    return target


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison, as HTML text."""
    a, b = comparison.a, comparison.b
    return page(
        "comparison.html",
        a=a,
        b=b,
        verdicts=[("a", a, verdict(a)), ("b", b, verdict(b))],
        settings=_differences(comparison.settings),
        environment=_differences(comparison.environment),
        parting=where_they_part(comparison),
        other_data=OTHER_DATA if comparison.other_data else None,
        only=" ".join(_only(comparison)),
        scores=_scores(comparison),
        curves=_curves(a, b),
        agreement=None if comparison.agreement is None else agreement_words(comparison.agreement),
        matrices=_matrices(comparison),
        recalls=_recalls(comparison),
        times=_times(comparison),
    )


def _differences(pairs: tuple[Difference, ...]) -> list[tuple[str, str, str]]:
    return [(pair.name, difference_words(pair.a), difference_words(pair.b)) for pair in pairs]


def _only(comparison: Comparison) -> list[str]:
    return [
        f"Only {letter} recorded {', '.join(names)}."
        for letter, names in (("a", comparison.only_a), ("b", comparison.only_b))
        if names
    ]


def _scores(comparison: Comparison) -> list[list[str]]:
    rows: list[list[str]] = []
    for a, b in comparison.scores:
        name = (a or b or Score("", None, None, None)).name
        ends = _pair(name, a and a.final, b and b.final)
        rows.append([name.replace("_", " "), *ends, *_pair(name, a and a.best, b and b.best)])
    return rows


def _pair(name: str, a: float | None, b: float | None) -> list[str]:
    rises = more_is_better(name)
    alike = a is None or b is None or math.isclose(a, b, rel_tol=1e-6)
    winner = None if rises is None or alike else best([a, b], rises)
    cells = [marked(shown(name, value), best=winner == i) for i, value in enumerate((a, b))]
    if a is None or b is None:
        return [*cells, "–"]
    in_points = shown(name, a).endswith("%") and shown(name, b).endswith("%")
    apart = f"{100 * (b - a):+.2f} points" if in_points else f"{b - a:+.4f}"
    return [*cells, "0" if alike else apart.replace("-", "−")]


def _curves(a: RunRecord, b: RunRecord) -> Markup | None:
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


def _matrices(comparison: Comparison) -> list[tuple[str, Evaluation, Markup]]:
    matrices: list[tuple[str, Evaluation, Markup]] = []
    for letter, run in (("a", comparison.a), ("b", comparison.b)):
        evaluation = run.evaluation
        drawn = None if evaluation is None else classes.matrix(evaluation)
        if evaluation is not None and drawn is not None:
            matrices.append((letter, evaluation, drawn))
    return matrices


def _recalls(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    a, b = comparison.a.evaluation, comparison.b.evaluation
    if a is None or b is None or a.classes != b.classes or len(a.classes) > classes.MOST_CELLS:
        return []
    pairs = zip(a.classes, a.recall(), b.recall(), strict=True)
    return [(name, percent(x), percent(y), _points(x, y)) for name, x, y in pairs]


def _points(a: float | None, b: float | None) -> str:
    return "–" if a is None or b is None else f"{100 * (b - a):+.1f}".replace("-", "−")


def _times(comparison: Comparison) -> list[tuple[str, str, str]]:
    a, b = comparison.times
    return [
        ("from start to end", duration(a.wall), duration(b.wall)),
        ("all epochs", _spent(a), _spent(b)),
        ("epochs", str(len(a.epochs)), str(len(b.epochs))),
        ("training batches", f"{a.batches:,}", f"{b.batches:,}"),
        ("batches per second", _rate(a), _rate(b)),
    ]


def _spent(time: Timing) -> str:
    return duration(sum(time.epochs) if time.epochs else None)


def _rate(time: Timing) -> str:
    rate = time.batches_per_second
    return "–" if rate is None else f"{rate:,.1f}"

"""The figures of a run: losses, metrics, and everything that was scheduled."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from lehr.base.smoothing import smooth
from lehr.report.plots import Line, plot
from lehr.report.readings import Reading, readings
from lehr.report.record import RunRecord
from lehr.report.render import part

_LARGE, _SMALL = (4.3, 2.55), (3.3, 1.9)  # inches


class Panel(NamedTuple):
    """One small plot of a figure."""

    title: str
    xlabel: str
    lines: list[Line]
    log: bool = False
    log_x: bool = False
    limits: tuple[float, float] | None = None


def loss_panel(record: RunRecord, color: int = 0) -> Panel:
    """Training loss by batch, raw and smoothed, and validation losses where they were taken.

    Args:
        record: of the run.
        color: of the training loss; validation takes the next.
    """
    lines: list[Line] = []
    if "loss" in record.series:
        batches, values = record.series["loss"]
        noisy = len(values) > 40
        lines.append(Line("each batch", batches, values, color, "raw"))
        if noisy:
            lines.append(
                Line(
                    "training, smoothed",
                    batches,
                    smooth(values, max(len(values) / 150, 1.0)),
                    color,
                )
            )
        else:
            lines[0] = Line("training", batches, values, color)
    elif any(value is not None for value in record.column("train_loss")):
        lines.append(by_step(record, "train_loss", "training", color))
    names = [name for row in record.rows for name in row if name.endswith("valid_loss")]
    for number, name in enumerate(dict.fromkeys(names), 1):
        loader = name.removesuffix("valid_loss").rstrip("/")
        label = f"validation{f' ({loader})' if loader else ''}"
        lines.append(by_step(record, name, label, color + number))
    return Panel("loss", "training batch", lines, log=True)


def by_step(record: RunRecord, name: str, label: str, color: int) -> Line:
    """A column of the rows as a line over the training batches."""
    steps = record.column("step")
    last = max((step for step in steps if step is not None), default=0)
    scale = max(1.0, record.batches / last) if last else 1.0  # several batches to one step
    pairs = [
        (step * scale, value)
        for step, value in zip(steps, record.column(name), strict=True)
        if step is not None and value is not None
    ]
    return Line(label, [x for x, _ in pairs], [y for _, y in pairs], color, "points")


def metric_panels(record: RunRecord) -> list[Panel]:
    """A panel for each metric; what was measured of it in training and on other loaders joins."""
    groups: dict[str, list[str]] = {}
    for name in record.metrics:
        base = name.rpartition("/")[2].removeprefix("train_")
        groups.setdefault(base, []).append(name)
    by_epoch = epochs_are_rows(record)
    xlabel = "epoch" if by_epoch else "training batch"
    return [
        Panel(
            base,
            xlabel,
            [
                by_row(record, name, name, color)
                if by_epoch
                else by_step(record, name, name, color)
                for color, name in enumerate(sorted(names, key=lambda n: "train_" in n), 1)
            ],
        )
        for base, names in groups.items()
    ]


def epochs_are_rows(record: RunRecord) -> bool:
    """Whether every row is an epoch, and no epoch has two."""
    epochs = [row.get("epoch") for row in record.rows]
    return all(type(epoch) is int for epoch in epochs) and len(set(epochs)) == len(epochs)


def by_row(record: RunRecord, name: str, label: str, color: int) -> Line:
    """A column of the rows as a line over the epochs."""
    values = record.column(name)
    epochs = [float(row["epoch"]) for row in record.rows]
    return Line(label, epochs, [math.nan if v is None else v for v in values], color, "points")


def scheduled_panels(record: RunRecord) -> list[Panel]:
    """A panel for everything else that was recorded by batch, the learning rate first."""
    return [
        Panel(name, "training batch", [Line(name, *record.series[name], 2)])
        for name in sorted(record.series, key=lambda name: name != "lr")
        if name != "loss"
    ]


def sweep_panel(record: RunRecord) -> Panel | None:
    """The loss over the rates of a search before the training; None if there was none."""
    if record.sweep is None:
        return None
    curve = record.sweep.curve
    lines = [
        Line("each batch", curve.lrs, curve.losses, 0, "raw"),
        Line("smoothed", curve.lrs, curve.smoothed, 0),
    ]
    if curve.suggestion is not None:
        loss = curve.smoothed[curve.lrs.index(curve.suggestion)]
        lines.append(
            Line(f"chosen: {curve.suggestion:.3g}", [curve.suggestion], [loss], 1, "points")
        )
    return Panel(
        "search for a learning rate", "learning rate", lines, log_x=True, limits=curve.limits
    )


def figure(
    panels: Sequence[Panel], caption: str, *, name: str, small: bool = False
) -> Markup | None:
    """Panels side by side under one caption; None if there are none."""
    if not panels:
        return None
    size = _SMALL if small else _LARGE
    drawn = [
        _drawn(panel, size, f"{name}{number}", readings(panel.lines))
        for number, panel in enumerate(panels)
    ]
    few = len(panels) <= (2 if small else 1)
    return part("curves.html", "figure", drawn, caption, "panels" + " small" * small + " few" * few)


def _drawn(
    panel: Panel, size: tuple[float, float], name: str, read_at: Sequence[Reading]
) -> dict[str, Any]:
    """What the template of a figure needs of a panel."""
    said = [", ".join(reading.words(panel.lines, panel.xlabel)) for reading in read_at]
    svg = _plot(panel, size, name, read_at)
    return {
        "name": name,
        "title": panel.title,
        "plot": svg,
        "legend": legend(panel),
        "readings": said,
    }


def _plot(panel: Panel, size: tuple[float, float], name: str, read_at: Sequence[Reading]) -> Markup:
    return plot(
        panel.lines,
        title=panel.title,
        xlabel=panel.xlabel,
        size=size,
        name=name,
        log=panel.log,
        log_x=panel.log_x,
        limits=panel.limits,
        read_at=read_at,
    )


def legend(panel: Panel) -> Markup | None:
    """Which colour is what; None for a single line that the panel's title names."""
    if [line.label for line in panel.lines] == [panel.title]:
        return None
    return part("curves.html", "legend", panel.lines)

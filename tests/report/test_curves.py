import math
import re
from dataclasses import replace
from pathlib import Path

from lehr.inspect.find_lr import LRCurve
from lehr.report import RunRecord
from lehr.report.curves import (
    Panel,
    by_step,
    epochs_are_rows,
    figure,
    legend,
    loss_panel,
    metric_panels,
    scheduled_panels,
    sweep_panel,
)
from lehr.report.plots import Line
from lehr.report.record import Points
from lehr.report.sweep import Sweep


def record(rows=(), **series):
    points = {name: Points(list(range(len(values))), values) for name, values in series.items()}
    return RunRecord(
        path=Path("x"),
        config={},
        environment={},
        rows=list(rows),
        series=points,
        evaluation=None,
        weights=None,
    )


ROWS = [
    {"epoch": 0, "step": 2, "valid_loss": 1.0, "train_accuracy": 0.4, "accuracy": 0.5},
    {"epoch": 1, "step": 4, "valid_loss": None, "train_accuracy": 0.6, "accuracy": None},
]


def test_loss_panel():
    few = loss_panel(record(ROWS, loss=[4.0, 3.0, 2.0, 1.0]))
    assert [(line.label, line.kind) for line in few.lines] == [
        ("training", "line"),
        ("validation", "points"),
    ]
    assert few.log
    assert (few.lines[1].x, few.lines[1].y) == ([2.0], [1.0])
    many = loss_panel(record(ROWS, loss=[1.0] * 41))
    assert [line.label for line in many.lines] == [
        "each batch",
        "training, smoothed",
        "validation",
    ]


def test_loss_panel_without_series_or_of_several_loaders():
    rows = [{"epoch": 0, "step": 3, "train_loss": 2.0, "a/valid_loss": 1.0, "b/valid_loss": 3.0}]
    panel = loss_panel(record(rows), color=2)
    assert [(line.label, line.color) for line in panel.lines] == [
        ("training", 2),
        ("validation (a)", 3),
        ("validation (b)", 4),
    ]
    assert loss_panel(record()).lines == []


def test_steps_become_batches_where_several_make_a_step():
    accumulated = record([{"step": 2, "f1": 0.5}, {"step": 4, "f1": 1.0}], loss=[1.0] * 16)
    assert by_step(accumulated, "f1", "f1", 0).x == [8.0, 16.0]
    assert by_step(record([{"step": 4, "f1": 1.0}], loss=[1.0] * 4), "f1", "f1", 0).x == [4.0]
    assert by_step(record([{"step": 0, "f1": 1.0}, {"f1": 2.0}]), "f1", "f1", 0).x == [0.0]


def test_metrics_share_a_panel_with_their_training_value():
    (panel,) = metric_panels(record(ROWS))
    assert (panel.title, panel.xlabel, panel.log) == ("accuracy", "epoch", False)
    assert [line.label for line in panel.lines] == ["accuracy", "train_accuracy"]
    assert panel.lines[0].x == [0.0, 1.0]
    assert panel.lines[0].y[0] == 0.5
    assert math.isnan(panel.lines[0].y[1])


def test_two_rows_an_epoch_are_drawn_by_batch():
    rows = [{**row, "epoch": 0} for row in ROWS]
    assert epochs_are_rows(record(ROWS))
    assert not epochs_are_rows(record(rows))
    (panel,) = metric_panels(record(rows))
    assert (panel.xlabel, panel.lines[0].x) == ("training batch", [2.0])


def test_everything_but_the_loss_is_a_panel_and_lr_comes_first():
    panels = scheduled_panels(record(loss=[1.0], momentum=[0.9], lr=[0.1]))
    assert [panel.title for panel in panels] == ["lr", "momentum"]


def test_figure_and_legend_escape_what_they_are_given():
    assert figure([], "nothing", name="x") is None
    line = Line("<i>", [0, 1], [1.0, 2.0])
    made = figure([Panel("<b>", "batch", [line, line])], "<u>", name="x", small=True)
    assert not any(f"<{name}>" in made for name in "biu")
    assert all(f"&lt;{name}&gt;" in made for name in "biu")
    assert 'class="panels small few"' in made
    assert legend(Panel("lr", "batch", [Line("lr", [0], [1.0])])) is None
    assert "var(--c0)" in legend(Panel("lr", "batch", [Line("a", [0], [1.0])]))


def test_a_sweep_shows_its_fall_however_high_the_loss_leaps_in_the_end():
    lrs = [10.0 ** (i / 10 - 4) for i in range(40)]
    falls = [2.3 - 0.03 * i for i in range(34)]
    curve = LRCurve(lrs, [*falls, 5.0, 50.0, 4e3, 1e5, 2e6, 3e9], lrs[30])
    panel = sweep_panel(replace(record(), sweep=Sweep(curve, 1.0)))
    low, high = panel.limits
    assert min(falls) - 0.5 < low < min(falls) < max(falls) < high < 4
    svg = str(figure([panel], "", name="sweep"))
    told = re.search(r'aria-label="[^"]*: from ([\d.]+) to ([\d.]+)"', svg)
    assert low <= float(told[1]) <= float(told[2]) <= high
    assert sweep_panel(record()) is None

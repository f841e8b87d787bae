"""The errors of predicted numbers for a reader: true against predicted, residuals, the largest."""

from typing import cast

import torch
from markupsafe import Markup

from lehr.base.numbers import plain
from lehr.report.curves import Panel, figure
from lehr.report.plots import Line
from lehr.report.regression import Regression
from lehr.report.render import part

_BINS = 40


def figures(regression: Regression) -> Markup | None:
    """Predicted against true numbers, and how the residuals are spread."""
    ends = [min(regression.truth), max(regression.truth)]
    residuals = [p - t for p, t in zip(regression.predicted, regression.truth, strict=True)]
    panels = [
        Panel(
            "predicted",
            "true",
            [
                Line("items", regression.truth, regression.predicted, 0, "dots"),
                Line("as it should be", ends, ends, 1, dashed=True),
            ],
        ),
        Panel("items", "predicted − true", [Line("items", *histogram(residuals), 0, "steps")]),
    ]
    caption = "Predicted against true numbers, and how far predictions are off."
    return figure(panels, caption, name="regression")


def histogram(values: list[float]) -> tuple[list[float], list[float]]:
    """The middles of bins, and how many values are in each.

    Example:
        >>> middles, counts = histogram([0.0, 0.0, 1.0])
        >>> counts[0], counts[-1], sum(counts)
        (2.0, 1.0, 3.0)
    """
    counts, edges = torch.histogram(torch.tensor(values, dtype=torch.float64), _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    return cast("list[float]", middles.tolist()), cast("list[float]", counts.tolist())


def largest_errors(regression: Regression) -> Markup | None:
    """The largest errors as a table; None if there are none."""
    rows = [
        (
            one.name or f"no. {one.index:,}",
            plain(one.truth),
            plain(one.predicted),
            plain(one.predicted - one.truth),
            one.text,
        )
        for one in regression.worst
    ]
    return part("regression.html", "largest_errors", rows) if rows else None

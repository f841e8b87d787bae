"""What was recorded of the layers of a model, drawn for its report."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from markupsafe import Markup
from torch import Tensor

from lehr.record.layer_table import LayerTable
from lehr.report.curves import Panel, figure
from lehr.report.pictures import data_uri
from lehr.report.plots import Line
from lehr.report.render import part

_LINES = 6  # in a panel: as many as a page has colours


class Layer(NamedTuple):
    """How the values of one layer are spread, as a picture."""

    name: str
    picture: str
    low: str
    high: str


def figures(tables: Sequence[LayerTable]) -> list[Markup]:
    """The panels of every table, and the pictures of those that have histograms."""
    drawn: list[Markup] = []
    for number, table in enumerate(tables):
        shown = _shown(table.layers)
        which = (
            ""
            if len(shown) == len(table.layers)
            else (f" {len(shown)} of {len(table.layers)} are shown, spread from first to last.")
        )
        panels = [
            Panel(name, table.axis, _lines(table, values, shown), log=True)
            for name, values in table.numbers.items()
        ]
        lines = figure(panels, f"{table.title}.{which}", name=f"layers{number}-", small=True)
        drawn += [] if lines is None else [lines]
        if table.counts is not None:
            low, high = (f"{end:g}" for end in table.span)
            pictures = [
                Layer(table.layers[i], data_uri(_heat(table.counts[:, i])), low, high)
                for i in shown
            ]
            drawn.append(part("layers.html", "histograms", pictures, table.title, which))
    return drawn


def _lines(table: LayerTable, values: Tensor, shown: Sequence[int]) -> list[Line]:
    batches = [float(batch) for batch in table.batches]
    columns = cast("list[list[float]]", values.T.tolist())
    return [
        Line(table.layers[i], batches, [v if math.isfinite(v) else math.nan for v in columns[i]], c)
        for c, i in enumerate(shown)
    ]


def _shown(names: Sequence[str]) -> list[int]:
    """Which layers have room, from the first to the last; biases are left out first.

    Example:
        >>> _shown([f"{layer}.{part}" for layer in range(8) for part in ("weight", "bias")])
        [0, 2, 6, 8, 12, 14]
    """
    every = list(range(len(names)))
    if len(every) <= _LINES:
        return every
    no_biases = [i for i in every if not names[i].endswith("bias")] or every
    last, most = len(no_biases) - 1, min(len(no_biases), _LINES)
    return [no_biases[round(i * last / max(1, most - 1))] for i in range(most)]


def _heat(counts: Tensor) -> Tensor:
    """Counts ``(batches, bins)`` as a picture, the highest bin on top; the darker, the more."""
    logs = counts.nan_to_num().clamp(min=0).log1p().T.flip(0)
    most = float(logs.max()) or 1.0
    share = (logs / most).unsqueeze(-1)
    light, dark = torch.tensor([238.0, 242.0, 248.0]), torch.tensor([20.0, 60.0, 140.0])
    return (light + share * (dark - light)).round().to(torch.uint8)

"""The report shows a panel for each number and a picture for each layer, a few of many."""

import base64
import io
import re

import numpy as np
import torch
from PIL import Image

from lehr.callbacks import ActivationStats, GradientStats
from lehr.record.layer_table import LayerTable
from lehr.report import RunFolder, layer_figures
from lehr.testing import tiny_learner


def table(layers=2, **changes):
    numbers = {"mean": torch.rand(3, layers), "deviation": torch.rand(3, layers)}
    names = [f"<{i}> Linear" for i in range(layers)]
    fields = {"title": "Outputs", "layers": names, "batches": (0, 5, 10), "numbers": numbers}
    return LayerTable(**(fields | changes))


def named(names):
    return LayerTable(
        title="Gradients", layers=names, batches=(0, 5), numbers={"norm": torch.rand(2, len(names))}
    )


def pictures(page):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_each_number_is_a_panel_with_a_line_for_each_layer():
    (drawn,) = layer_figures.figures([table()])
    assert re.findall("<h3>(.*?)</h3>", drawn) == ["mean", "deviation"]
    assert drawn.count("&lt;0&gt; Linear</li>") == 2
    assert "<0>" not in drawn
    assert "are shown" not in drawn


def test_the_axis_is_what_the_table_counts():
    (drawn,) = layer_figures.figures([table()])
    assert "training batch" in drawn
    (drawn,) = layer_figures.figures([table(axis="optimizer step")])
    assert "optimizer step" in drawn
    assert "training batch" not in drawn


def test_of_many_layers_a_few_from_first_to_last_are_shown():
    (drawn,) = layer_figures.figures([table(layers=30)])
    shown = [int(i) for i in re.findall(r"&lt;(\d+)&gt; Linear", drawn)]
    assert len(set(shown)) == 6
    assert (min(shown), max(shown)) == (0, 29)
    assert "6 of 30 are shown" in drawn


def test_biases_are_left_out_first():
    names = [f"{layer}.{part}" for layer in range(7) for part in ("weight", "bias")]
    (drawn,) = layer_figures.figures([named(names)])
    assert {*re.findall(r"(\d\.weight|\d\.bias)", drawn)} == {
        f"{layer}.weight" for layer in (0, 1, 2, 4, 5, 6)
    }
    (all_of_few,) = layer_figures.figures([named(names[:6])])
    assert "2.bias" in all_of_few
    (biases_alone,) = layer_figures.figures([named(names[1::2])])
    assert "6.bias" in biases_alone


def test_histograms_are_pictures_with_the_highest_bin_on_top():
    counts = torch.zeros(3, 2, 4)
    counts[0, 0, 3] = 5.0  # many large values in the first batch of the first layer
    counts[2, 0, 0] = float("nan")
    _, drawn = layer_figures.figures([table(counts=counts, span=(-1.0, 2.5))])
    first, second = pictures(drawn)
    assert first.shape == (4, 3, 3)  # bins by batches
    assert first[0, 0].sum() < first[3, 2].sum()
    assert (first[1:] == first[3, 2]).all()
    assert (second == second[0, 0]).all()
    assert "from -1 (bottom) to 2.5 (top)" in drawn


def test_numbers_that_are_not_finite_leave_gaps():
    numbers = {"mean": torch.full((3, 2), float("inf"))}
    (drawn,) = layer_figures.figures([table(numbers=numbers)])
    assert "No finite value was recorded." in drawn


def test_the_report_of_a_run_has_the_section_if_something_was_recorded(tmp_path):
    for name, callbacks in (("with", [ActivationStats(), GradientStats()]), ("without", [])):
        learn = tiny_learner(callbacks)
        with RunFolder.create(tmp_path / name).keep(learn, {}):
            learn.fit(1)
    page = (tmp_path / "with" / "report.html").read_text()
    assert "Outputs of each layer in training" in page
    assert "update against weight" in page
    assert "of each layer" not in (tmp_path / "without" / "report.html").read_text()

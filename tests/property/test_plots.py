"""Whatever was recorded can be drawn."""

import io
import math
import sys
import types

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lehr.callbacks.measure.recorder import Recorder
from lehr.record.history import History
from lehr.report.plots import Line, plot
from lehr.report.run_folder import RunFolder
from tests.tier import count

TINY, HUGE = 5e-324, sys.float_info.max
ABSURD = st.sampled_from(
    [0.0, -0.0, 1.0, math.nextafter(1, 2), TINY, -TINY, 1e-310, HUGE, -HUGE, 1e300, 1e-300]
    + [1e100, math.nextafter(1e100, 0), 1e-100, math.inf, -math.inf, math.nan]
)
VALUES = st.lists(st.one_of(st.floats(), ABSURD), min_size=1, max_size=6)
KNOWN = [
    [HUGE, -HUGE],
    [TINY, 2 * TINY],
    [1e-310, 1.0],
    [1e-310, HUGE],
    [HUGE],
    [1.0, math.nextafter(1, 2)],
    [1e100, math.nextafter(1e100, 0)],
    [1e-100, 1e100],
    [math.inf, -math.inf],
    [math.nan],
    [TINY, 1e-300, 1e300],
]


def known(test):
    for values in KNOWN:
        test = example(values=values)(test)
    return test


@known
@settings(max_examples=count(8), deadline=None)
@given(values=VALUES)
def test_the_plots_of_a_report(values):
    for log in (False, True):
        lines = [Line("loss", range(len(values)), values), Line("b", [1], values[:1], 1, "points")]
        assert plot(lines, title="loss", xlabel="batch", log=log)


@known
@settings(max_examples=count(4), deadline=None)
@given(values=VALUES)
def test_the_plots_of_a_run_folder(tmp_path_factory, values):
    recorder, folder = Recorder(), RunFolder(tmp_path_factory.mktemp("run"))
    history = recorder.history = History()
    for batch, value in enumerate(values):
        history.log_step("loss", value, batch=batch)
        history.log_step("lr", value, batch=batch)
    recorder._validated = list(enumerate(values))
    folder._write_plots(types.SimpleNamespace(history=history, recorder=recorder))
    assert {path.name for path in folder.path.iterdir()} == {"loss.png", "lr.png"}


def test_the_control_matplotlib_by_itself_cannot():
    figure = Figure(layout="constrained")
    figure.subplots().plot([HUGE, -HUGE])
    with pytest.raises((ValueError, OverflowError, FloatingPointError, RuntimeWarning)):
        figure.savefig(io.BytesIO())

"""The chart of a plan."""

import matplotlib.pyplot as plt
import pytest

from lehr.inspect.fit_plan import FitPlan
from lehr.inspect.plan_plot import plot

PLAN = FitPlan(
    epochs=[0, 0, 1, 1],
    batches=[1] * 4,
    values={"lr[0]": [0.1, 0.2, 0.3, 0.4], "lr[1]": [None, None, 3.0, 4.0], "p": [1.0] * 4},
    trained=[9] * 4,
    freezes={2: "frozen: 0.weight"},
    validations=[2, 4],
    saves=[0],
    unforeseen=[],
)


def test_there_is_a_panel_for_each_number_and_one_for_what_happens():
    rates, share, last = plot(PLAN).axes
    assert [ax.get_ylabel() for ax in (rates, share)] == ["lr", "p"]
    curves = {line.get_label(): line for line in rates.lines if line.get_label()[0] != "_"}
    assert list(curves) == ["lr[0]", "lr[1]"]
    assert list(curves["lr[0]"].get_xdata()) == [0, 1, 2, 3, 4]
    assert list(curves["lr[0]"].get_ydata()) == [0.1, 0.2, 0.3, 0.4, 0.4]
    assert curves["lr[1]"].get_ydata()[0] != curves["lr[1]"].get_ydata()[0]  # a gap
    assert [label.get_text() for label in last.get_yticklabels()] == ["freeze", "save", "validate"]
    assert [list(line.get_xdata()) for line in last.lines[:3]] == [[2], [0], [2, 4]]


def test_it_draws_into_axes_that_it_is_given():
    figure, axes = plt.subplots(3)
    assert PLAN.plot(axes) is figure
    words = r"axes must be 3, one each for lr, p and what happens; got {}\. Make them with plt"
    for number in (1, 2, 4):
        with pytest.raises(ValueError, match=words.format(number)):
            PLAN.plot(plt.subplots(number)[1])
    alone = plt.subplots()[1]
    assert FitPlan([], [], {}, [], {}, [], [], []).plot(alone) is alone.figure


def test_nothing_scheduled_and_nothing_done_can_be_drawn():
    assert len(plot(FitPlan([], [], {}, [], {}, [], [], [])).axes) == 1

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from IPython.core.events import EventManager
from matplotlib.figure import Figure

from lehr.base import drawing


@pytest.fixture(autouse=True)
def _closed():
    plt.close("all")
    yield
    plt.close("all")


def test_axes_of_the_caller_are_drawn_into():
    ax = plt.subplots()[1]
    assert drawing.axes(ax) is ax
    assert len(plt.get_fignums()) == 1


def test_a_new_figure_waits_for_show_in_a_script():
    ax = drawing.axes(size=(2, 1))
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.figure.get_size_inches().tolist() == [2, 1]


class Shell:
    """A notebook's shell, as far as figures need it."""

    def __init__(self):
        self.events = EventManager(self, {"post_run_cell": lambda result: None})
        self.shown = []

    def run(self, cell, *, quiet=False):
        result = cell()
        self.events.trigger("post_run_cell", SimpleNamespace(result=None if quiet else result))


@pytest.fixture
def shell(monkeypatch):
    shell = Shell()
    monkeypatch.setattr(drawing, "in_notebook", lambda: True)
    monkeypatch.setattr(drawing, "ipython_shell", lambda: shell)
    monkeypatch.setattr("IPython.display.display", shell.shown.append)
    return shell


def draw():
    return drawing.axes().figure


def test_a_notebook_shows_a_figure_that_is_drawn_in_the_middle_of_a_cell_once(shell):
    drawn = []
    shell.run(lambda: drawn.extend([draw(), draw()]))
    assert shell.shown == drawn
    shell.run(lambda: 3)
    assert len(shell.shown) == 2
    assert plt.get_fignums() == []  # pyplot shows none of them a second time


@pytest.mark.parametrize(("quiet", "times"), [(False, 0), (True, 1)])
def test_the_figure_that_is_the_result_of_a_cell_is_shown_as_its_result(shell, quiet, times):
    shell.run(draw, quiet=quiet)
    assert len(shell.shown) == times


def test_a_figure_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = drawing.axes().figure
    path = tmp_path / "plot.PNG"
    drawing.save_figure(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    figure.axes[0].plot([0, 1])
    with pytest.raises(OSError, match="No space left"):
        drawing.save_figure(figure, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="not supported"):
        drawing.save_figure(figure, tmp_path / "plot.xyz")
    assert list(tmp_path.iterdir()) == [path]


AXES = {
    "small": lambda ax: ax.plot([0, 1], [0, 2]),
    "negative": lambda ax: ax.plot([0, 1], [-3000, 2]),
    "in common": lambda ax: ax.plot([0, 1], [1e-7, 3e-7]),
    "long": lambda ax: (
        ax.plot([0, 2e6], [50_000, 90_000]),
        ax.xaxis.set_major_formatter("{x:,.0f}"),
    ),
    "logarithmic": lambda ax: (ax.plot([0, 1], [1e-5, 9]), ax.set(yscale="log", ylabel="loss")),
    "between powers": lambda ax: (ax.plot([1, 5], [2, 5]), ax.set(yscale="log", xscale="log")),
    "a dollar": lambda ax: ax.set(xlabel="batch", ylabel=r"a\$b"),
}


def edges(ax):
    """How far the axes are from the edges of their figure, in points."""
    box, (width, height) = ax.get_position(), 72 * ax.figure.get_size_inches()
    return [box.x0 * width, (1 - box.x1) * width, box.y0 * height, (1 - box.y1) * height]


@pytest.mark.parametrize("draw", AXES.values(), ids=AXES)
def test_axes_fit_as_the_layout_would_have_them(draw):
    fitted, wanted = Figure(figsize=(4, 2)).subplots(), Figure(layout="constrained").subplots()
    wanted.figure.set_size_inches(4, 2)
    draw(fitted), draw(wanted)
    wanted.figure.draw_without_rendering()
    assert edges(fitted) != pytest.approx(edges(wanted), abs=6)  # the control
    drawing.fit(fitted)
    assert edges(fitted) == pytest.approx(edges(wanted), abs=6)
    inside = fitted.get_tightbbox()
    figure = fitted.figure.bbox
    assert 0 < inside.x0 < inside.x1 < figure.x1
    assert 0 < inside.y0 < inside.y1 < figure.y1

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from IPython.core.events import EventManager

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

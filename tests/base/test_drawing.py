import matplotlib.pyplot as plt
import pytest

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


def test_in_a_notebook_pyplot_does_not_show_it_a_second_time(monkeypatch):
    monkeypatch.setattr(drawing, "in_notebook", lambda: True)
    assert drawing.axes().figure is not None
    assert plt.get_fignums() == []


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

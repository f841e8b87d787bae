import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from lehr import audit


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def audited(repair=None):
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(16, 16), nn.ReLU())))
    return audit(model, torch.randn(64, 16), repair=repair)


def lines(figure):
    return {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}


def test_the_signal_is_drawn_by_depth_and_every_site_has_a_row():
    found = audited()
    figure = found.plot()
    drawn = lines(figure)
    layers = [site for site in found.sites if site.role != "activation"]
    assert list(drawn["across items"]) == [site.out.across for site in layers]
    assert figure.axes[0].get_yscale() == "log"
    (image,) = figure.axes[1].get_images()
    assert image.get_array().shape[0] == len(found.sites) - 1
    assert len(figure.axes[1].get_yticklabels()) == len(found.sites) - 1


def test_a_repair_is_drawn_over_what_was_before():
    found = audited("kaiming")
    drawn = lines(found.plot())
    assert "across items, before" in drawn
    assert drawn["across items, before"][-1] < drawn["across items"][-1] / 10
    assert "across items, before" not in lines(audited().plot())


def test_it_draws_into_axes_that_are_given():
    _, axes = plt.subplots(1, 2)
    assert audited().plot(list(axes)) is axes[0].figure
    assert len(plt.get_fignums()) == 1


def test_a_signal_that_is_gone_leaves_a_gap_and_no_warning():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    nn.init.zeros_(model[0].weight)
    figure = audit(model, torch.randn(64, 16)).plot()
    figure.canvas.draw()

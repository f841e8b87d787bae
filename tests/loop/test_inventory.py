"""Which state entries there are."""

import torch
from torch import nn

from lehr import Callback
from lehr.data import DataBunch, DataLoader
from lehr.loop import inventory
from lehr.loop.plan import feeds
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture, restore


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def test_several_optimizers_a_stateful_loss_and_loaders_have_entries_of_their_own():
    model = nn.Linear(2, 2)
    opts = {name: torch.optim.SGD(model.parameters(), 0.1) for name in ("one", "two")}
    loader = torch.utils.data.DataLoader([1, 2], generator=torch.Generator())
    found = inventory.of_training(model, opts, Loss(), *feeds(DataBunch(loader)))
    assert list(found) == [
        *("model", "modes", "random", "opt.one", "opt.two", "loss_func", "train_dl.generator"),
    ]


def test_what_has_no_state_has_no_entry():
    model = nn.Linear(2, 2)
    opt = torch.optim.SGD(model.parameters(), 0.1)
    found = inventory.of_training(model, opt, nn.functional.mse_loss, *feeds(DataBunch([1], [2])))
    assert list(found) == ["model", "modes", "random", "opt"]


def test_namesakes_are_numbered_even_if_a_name_looks_like_a_number():
    three = [Callback(), Callback(), Callback()]
    three[0].name = "callback#2"
    found = inventory.of_callbacks(three)
    assert list(found) == ["callbacks.callback#2", "callbacks.callback", "callbacks.callback#3"]
    assert list(found.values()) == three


def test_a_validation_loader_has_its_state_and_so_has_each_of_several():
    model = nn.Linear(2, 2)
    opt = torch.optim.SGD(model.parameters(), 0.1)
    loader = DataLoader([1, 2], 1)
    for valid, names in ((loader, ["valid_dl"]), ({"a": loader, "b": [1]}, ["valid_dl.a"])):
        found = inventory.of_training(model, opt, None, *feeds(DataBunch([1], valid)))
        assert list(found)[4:] == names


def test_a_snapshot_of_the_entries_goes_back_into_them():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    opts = {name: torch.optim.Adam(model.parameters(), 0.1) for name in ("one", "two")}
    found = inventory.of_training(model, opts, Loss(), *feeds(DataBunch(DataLoader([1, 2], 1))))
    before = capture(found)
    model(torch.randn(4, 2)).sum().backward()
    opts["two"].step()
    changed = capture(found)
    assert first_difference(before, changed) is not None
    restore(found, before)
    assert first_difference(before, capture(found)) is None
    restore(found, changed)
    assert first_difference(changed, capture(found)) is None

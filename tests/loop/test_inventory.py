"""Which state entries there are."""

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import Checkpoint
from lehr.data import DataBunch, DataLoader
from lehr.loop import inventory
from lehr.loop.inventory import made_of
from lehr.loop.plan import feeds
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture, restore
from lehr.testing import tiny_learner


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


# Parameters that only an optimizer holds ---------------------------------------------------------


class Teaches(Callback):
    """Has a module whose parameters the optimizer moves."""

    def __init__(self, teacher, state):
        self.teacher, self.state = teacher, state


def scaled(*callbacks, scale=None, loss_module=False):
    """A Learner whose loss has a parameter of its own, which only the optimizer holds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    scale = nn.Parameter(torch.ones(2)) if scale is None else scale
    held = [*model.parameters(), scale, *(p for cb in callbacks for p in cb.teacher.parameters())]
    opt = torch.optim.SGD(held, lr=0.1, momentum=0.9)

    def loss_func(pred, yb):
        return nn.functional.cross_entropy(pred * scale, yb)

    return tiny_learner(callbacks, model=model, opt=opt, loss_func=loss_func, seed=3), scale


def test_a_parameter_that_only_the_optimizer_holds_is_an_entry():
    learn, scale = scaled()
    assert torch.equal(capture(learn.state_entries())["parameters"]["0"], scale)
    assert "parameters" in learn.fit(1).state_entries()
    assert "parameters" not in tiny_learner().state_entries()


@pytest.mark.parametrize(("state", "apart"), [(("teacher",), 1), ((), 3)])
def test_what_a_callback_declares_as_its_state_is_its_own(state, apart):
    learn, _ = scaled(Teaches(nn.Linear(2, 2), state))
    assert len(learn.state_entries()["parameters"].state_dict()) == apart


def test_what_the_loss_function_has_is_its_own():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

    loss, model = Loss(), nn.Linear(3, 2)
    opt = torch.optim.SGD([*model.parameters(), loss.scale], lr=0.1)
    learn = tiny_learner(model=model, opt=opt, loss_func=loss)
    assert "parameters" not in learn.state_entries()


@pytest.mark.parametrize("kind", [nn.Parameter, torch.Tensor.requires_grad_])
def test_a_probe_puts_it_back_and_a_graph_from_before_can_be_taken_backward(kind):
    learn, scale = scaled(scale=kind(torch.ones(2)))
    loss = learn.loss_func(learn.model(torch.zeros(2, 3)), torch.tensor([0, 1]))
    with learn.probe():
        learn.fit(1)
        assert not torch.equal(scale, torch.ones(2))
    assert torch.equal(scale, torch.ones(2))
    learn.rehearse(3)
    assert torch.equal(scale, torch.ones(2))
    loss.backward()


def test_a_checkpoint_holds_it_and_a_resumed_run_has_it(tmp_path):
    class Stop(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == 5:
                run.interrupt("test")

    straight, expected = scaled()
    straight.fit(2)
    stopped, _ = scaled()
    stopped.fit(2, [Checkpoint(tmp_path), Stop()])
    learn, scale = scaled()
    learn.fit(2, [Checkpoint(tmp_path)], resume="auto")
    assert torch.equal(scale, expected)
    end, resumed = capture(straight.state_entries()), capture(learn.state_entries())
    names = ("model", "parameters", "parameters.modes", "opt", "counters")
    assert (
        first_difference(*({name: one[name] for name in names} for one in (end, resumed))) is None
    )


def test_a_model_is_made_of_its_modules_and_the_shapes_of_its_tensors():
    model, loss = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.CrossEntropyLoss()
    before = made_of(model, loss)
    nn.init.zeros_(model[0].weight)
    model.eval()
    assert before.is_still(model, loss)  # the control
    assert not before.is_still(model, nn.CrossEntropyLoss())
    assert not before.is_still(model[0], loss)
    model[0].weight.data = torch.zeros(3, 2)
    assert not before.is_still(model, loss)
    lazy = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    before = made_of(lazy, None)
    assert before.is_still(lazy, None)
    lazy(torch.ones(2, 3))
    assert not before.is_still(lazy, None)

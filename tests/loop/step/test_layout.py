"""What a graph must know of model and optimizers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.loop.step.graphs import Graphs
from lehr.loop.step.layout import Layout, count_on_cpu
from lehr.optim.functional import Form
from lehr.testing import tiny_learner

GRAPHS = Graphs("eager")


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def two_groups(parameters):
    first, *others = parameters
    groups = [{"params": [first], "lr": 0.5}, {"params": others}]
    return torch.optim.AdamW(groups, lr=0.1)


def with_gradients(model):
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def laid_out(gradients=with_gradients):
    learn = tiny_learner(model=net(), opt=two_groups)
    run = learn.fit(1)
    gradients(run.model)
    return run, Layout(run, GRAPHS)


def test_each_group_is_a_part_and_all_else_is_the_others():
    run, layout = laid_out()
    assert layout.parts[0].names == ("0.weight",)
    assert layout.parts[1].names == ("0.bias", "1.weight", "1.bias", "2.weight", "2.bias")
    assert layout.trained[0][0] is run.model[0].weight
    assert list(layout.others) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    _, none = laid_out(lambda model: None)  # after the fit nothing holds one
    assert (none.parts, len(none.others)) == ([], 9)


def test_what_is_frozen_is_not_trained_though_it_may_hold_a_gradient():
    def frozen(model):
        with_gradients(model)
        model[0].requires_grad_(False)

    _, layout = laid_out(frozen)
    assert [part.names for part in layout.parts] == [
        ("1.weight", "1.bias", "2.weight", "2.bias"),
    ]


def test_numbers_that_may_change_are_in_the_same_tensors():
    run, layout = laid_out()
    before = layout.hyperparameters()
    assert [numbers["lr"].item() for numbers in before] == [0.5, 0.1]
    run.opt.param_groups[0]["lr"] = 0.25
    now = layout.hyperparameters()
    assert now[0]["lr"] is before[0]["lr"]
    assert now[0]["lr"].item() == 0.25
    assert layout.changed(before, now) == []
    run.opt.param_groups[1]["eps"] = 0.5
    assert layout.changed(before, layout.hyperparameters()) == ["eps of AdamW"]


def test_a_weight_decay_is_in_a_tensor_unless_it_is_0():
    run, layout = laid_out()
    decay = lambda: layout.hyperparameters()[1]["weight_decay"]  # noqa: E731
    run.opt.param_groups[1]["weight_decay"] = 0.5
    before = decay()
    assert before.item() == 0.5
    run.opt.param_groups[1]["weight_decay"] = 0.25
    assert decay() is before
    run.opt.param_groups[1]["weight_decay"] = 0
    assert decay() == 0
    assert type(decay()) is int


def test_states_are_there_once_the_optimizer_has_made_them():
    run, layout = laid_out()
    assert layout.states()[0][0][0] is run.opt.state[run.model[0].weight]["exp_avg"]
    del run.opt.state[run.model[0].weight]
    assert layout.states() is None


def load_into(opt):
    opt.load_state_dict(opt.state_dict())  # makes other groups


def give_another_weight(layer):
    layer.weight = nn.Parameter(torch.zeros_like(layer.weight))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.model[0].weight.requires_grad_(False),
        lambda run: setattr(run, "loss_func", nn.MSELoss()),
        lambda run: setattr(run, "opt", two_groups(run.model.parameters())),
        lambda run: setattr(run, "model", nn.Sequential(run.model)),
        lambda run: run.opt.add_param_group({"params": [torch.zeros(1)]}),
        lambda run: load_into(run.opt),
        lambda run: give_another_weight(run.model[0]),
        lambda run: setattr(run.model[1], "running_mean", None),
        lambda run: setattr(run.model, "2", nn.Linear(4, 2)),
        lambda run: delattr(run.model, "2"),
    ],
    ids=[
        *("freeze", "loss", "optimizer", "model", "group", "load", "parameter", "no buffer"),
        *("module", "no module"),
    ],
)
def test_what_is_trained_in_another_way_is_noticed(change):
    run, layout = laid_out()
    assert layout.is_still(run)
    change(run)
    assert not layout.is_still(run)


class AnotherLayer(Callback):
    """Puts another layer into the model, within an epoch."""

    def begin_batch(self, run):
        if run.training and run.batch_index == 2:
            torch.manual_seed(7)
            run.model[0] = nn.Linear(3, 4)


def test_a_layer_that_is_replaced_within_an_epoch_predicts_from_then_on():
    learns = [
        tiny_learner([AnotherLayer()], model=net(), seed=1, compile=backend)
        for backend in ("eager", False)
    ]
    learns[1].model.load_state_dict(learns[0].model.state_dict())
    with pytest.warns(UserWarning, match="parameters that are not the model's"):
        fused = learns[0].fit(1)
    eager = learns[1].fit(1)
    assert fused.history["train_loss"] == pytest.approx(eager.history["train_loss"])
    for mine, other in zip(learns[0].model.parameters(), learns[1].model.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_buffer_in_the_place_of_another_is_taken():
    run, layout = laid_out()
    run.model[1].running_mean = torch.full((4,), 0.5)
    assert layout.is_still(run)
    assert layout.others["1.running_mean"] is run.model[1].running_mean


def on_the_optimizer(run):
    run.opt.register_step_pre_hook(lambda *_: None)


@pytest.mark.parametrize(
    "hook",
    [
        lambda run: run.model[0].register_forward_hook(print),
        lambda run: run.model[0].weight.register_hook(print),
        lambda run: run.model[0].weight.register_post_accumulate_grad_hook(print),
        on_the_optimizer,
    ],
    ids=["module", "parameter", "gradient", "optimizer"],
)
def test_hooks_that_come_later_are_noticed(hook):
    run, layout = laid_out()
    assert not layout.has_hooks()
    hook(run)
    assert layout.has_hooks()


def test_hooks_of_every_module_are_noticed():
    _, layout = laid_out()
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert layout.has_hooks()
    handle.remove()
    assert not layout.has_hooks()


def test_gradients_are_gathered_where_the_parameters_hold_them():
    run, layout = laid_out()
    run.opt.zero_grad()
    run.model[0].weight.grad = torch.ones(4, 3)
    (first,), others = layout.gathered()
    assert first is run.model[0].weight.grad
    assert all(torch.equal(other, torch.zeros_like(other)) for other in others)
    assert run.model[2].bias.grad is others[-1]


def test_an_optimizer_that_is_told_to_counts_on_the_device(monkeypatch):
    moved = []
    monkeypatch.setattr(Form, "bring_counts", lambda self, state, device: moved.append(device))
    for how, counts in (({}, 1), ({"capturable": True}, 0), ({"fused": True}, 0)):
        moved.clear()
        count_on_cpu(torch.optim.Adam([nn.Parameter(torch.ones(1))], **how))
        assert moved == [torch.device("cpu")] * counts
    count_on_cpu(torch.optim.LBFGS([nn.Parameter(torch.ones(1))]))
    assert len(moved) == 0


def test_what_is_counted_on_the_cpu_is_moved_once_there_is_a_state_for_a_step_that_is_captured():
    model = net().to("meta")
    run = SimpleNamespace(model=model, opt=two_groups(model.parameters()), loss_func=None, epoch=0)
    graphs = Graphs("inductor")
    graphs.captures_on = lambda device: device.type == "meta"
    with_gradients(model)
    captured, not_captured = Layout(run, graphs), Layout(run, GRAPHS)
    run.opt.step()
    places = lambda layout: {step.device.type for *_, steps in layout.states() for step in steps}  # noqa: E731
    assert places(not_captured) == {"cpu"}
    assert places(captured) == {"meta"}
    assert not_captured.numbers is not captured.numbers

"""Each thing that keeps a step from being fused is named, with what to change."""

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import (
    EMA,
    SAM,
    Accumulate,
    ClipGradients,
    GradientStats,
    ParamScheduler,
    StopOnNonFinite,
    Timer,
)
from lehr.engine import Engine
from lehr.loop.step.fusible import hook_places, obstacles
from lehr.schedules import one_cycle
from lehr.testing import tiny_learner


class Watches(Callback):
    def after_backward(self, run): ...


class LooksOn(Watches):
    looks_on = True


class Around(Callback):
    def one_batch(self, run, proceed):
        proceed()


class Regrads(Callback):
    regrads = True


class Two(Engine):
    world = 2


def obstacles_of(callbacks=(), engine=None, **kwargs):
    learn = tiny_learner(callbacks, **kwargs)
    everybody = learn.everybody()
    return obstacles(learn.model, learn.opt, learn.loss_func, everybody, engine or learn.engine)


class Clips(ClipGradients):
    def finish_grad(self, run, proceed):
        proceed()


def test_the_usual_callbacks_are_no_obstacle():
    scheduler = ParamScheduler("lr", one_cycle(0.1))
    usual = [scheduler, EMA(0.9), LooksOn(), Around(), Timer(), ClipGradients(1.0), Accumulate(2)]
    usual.append(StopOnNonFinite(every=10))
    assert obstacles_of(usual, metrics=[lambda pred, yb: pred.mean()], progress=True) == []


@pytest.mark.parametrize(
    ("callback", "why"),
    [
        (Watches(), "Watches watches after_backward; leave it out"),
        (GradientStats(), "GradientStats wraps step; leave it out"),
        (Clips(1.0), "Clips wraps finish_grad; leave it out"),
        (Regrads(), "Regrads takes gradients anew; leave it out"),
        (Accumulate(items=9), "Accumulate lets batches make a step in a number that is not known"),
        (SAM(0.1), "SAM wraps"),
        (StopOnNonFinite(), "StopOnNonFinite watches after_loss; leave it out"),
    ],
)
def test_a_callback_inside_is_named(callback, why):
    (one,) = obstacles_of([callback])
    assert one.startswith(why)


def with_hook(parameters):
    opt = torch.optim.SGD(parameters, lr=0.1)
    opt.register_step_post_hook(lambda *_: None)
    return opt


def with_own_step(parameters):
    opt = torch.optim.SGD(parameters, lr=0.1)
    opt.step = lambda closure=None: None
    return opt


def of_others(parameters):
    return torch.optim.SGD([*parameters, nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize(
    ("opt", "why"),
    [
        (torch.optim.Adafactor, "Adafactor reads numbers from its tensors within its step"),
        (torch.optim.LBFGS, "LBFGS has no function in torch.optim that can be traced"),
        (with_hook, "SGD has hooks on its step; remove them"),
        (with_own_step, "the step of this SGD was replaced by another function; leave that out"),
        (lambda ps: torch.optim.SGD(ps, lr=0.1, differentiable=True), "SGD is differentiable"),
        (of_others, "the optimizer holds parameters that are not the model's"),
    ],
)
def test_an_optimizer_is_named(opt, why):
    assert obstacles_of(opt=opt)[0].startswith(why)


def test_a_schedule_of_torchs_is_no_obstacle():
    def scheduled(parameters):
        opt = torch.optim.SGD(parameters, lr=0.1)
        torch.optim.lr_scheduler.StepLR(opt, 1)  # puts a step that counts into it
        return opt

    assert obstacles_of(opt=scheduled) == []


def test_modules_and_processes_are_named():
    assert obstacles_of(loss_func=nn.PReLU()) == [
        "the loss function has 1 parameters; put them into the model"
    ]
    learn = tiny_learner()
    wrapped = nn.DataParallel(learn.model)
    (why,) = obstacles(wrapped, learn.opt, learn.loss_func, [], learn.engine)
    assert why == "the model is inside a DataParallel; give the Learner the model itself"
    assert obstacles_of(engine=Two()) == ["several processes share a step"]
    double = nn.Linear(3, 2, dtype=torch.complex64)
    opt = torch.optim.SGD(double.parameters(), lr=0.1)
    (why,) = obstacles(double, opt, learn.loss_func, [], learn.engine)
    assert why == "the optimizer holds parameters that are not real numbers"


def of_model(model):
    learn = tiny_learner()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    return obstacles(model, opt, learn.loss_func, [], learn.engine)


def test_a_part_of_the_model_in_a_wrapper_is_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert of_model(model) == []
    model[0] = torch.compile(model[0], backend="eager")
    said = "the part '0' of the model is inside a OptimizedModule; put the part itself there"
    assert of_model(model) == [said]


def test_a_module_with_parameters_in_two_places_is_named():
    layer, relu = nn.Linear(3, 3), nn.ReLU()
    model = nn.Sequential(layer, relu, nn.Linear(3, 3), relu)  # relu has none
    model[2].weight = layer.weight  # one parameter in two modules can be fused
    assert of_model(model) == []
    model.append(nn.Sequential(layer))
    (said,) = of_model(model)
    assert said.startswith("'0' and '4.0' are the same module, and have its parameters twice; keep")


def test_recurrent_layers_are_named():
    cell = tiny_learner(model=nn.Sequential(nn.RNNCell(3, 2)))
    for model, why in (
        (
            nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 2)),
            "the model has LSTM layers, of which torch's",
        ),
        (nn.ModuleList([nn.GRU(3, 2), nn.LSTM(3, 2)]), "the model has GRU and LSTM layers, of"),
    ):
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        (one,) = obstacles(model, opt, cell.loss_func, [], cell.engine)
        assert one.startswith(why)
    assert obstacles(cell.model, cell.opt, cell.loss_func, [], cell.engine) == []


def test_hooks_are_onewherever_they_are():
    model, loss = nn.Sequential(nn.Linear(1, 1)), nn.MSELoss()
    places = hook_places(model, loss, lambda: 0)
    assert not any(places)
    handle = model[0].register_full_backward_hook(lambda *_: None)
    assert any(places)
    handle.remove()
    loss.register_forward_pre_hook(lambda *_: None)
    assert any(places)

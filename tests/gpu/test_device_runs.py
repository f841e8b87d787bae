"""What holds on the CPU holds on an accelerator: `make test-gpu` on a machine that has one.

Without one the same runs are made on the CPU, which shows that these tests themselves are right.
"""

from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from lehr import Callback, DataBunch, Learner, accuracy, seed
from lehr.callbacks import (
    EMA,
    Accumulate,
    ActivationStats,
    BatchTransform,
    Checkpoint,
    ClipGradients,
    CutMix,
    Device,
    GradientStats,
    MixedPrecision,
    MixUp,
    ParamScheduler,
)
from lehr.data import DataLoader, Dataset
from lehr.schedules import one_cycle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),  # of its compiler, within torch
]

HERE = (torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None) or (
    torch.device("cpu")
)
only_cuda = pytest.mark.skipif(HERE.type != "cuda", reason="there is no CUDA device")


class StopAt(Callback):
    replays = False

    def __init__(self, at):
        self.at = at

    def after_step(self, run):
        if run.n_steps == self.at:
            run.interrupt("as asked")


def net(dropout):
    return nn.Sequential(
        *(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(dropout),
        ),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)),
    )


def bunch(where="cpu"):
    draws = torch.Generator().manual_seed(0)
    y = torch.arange(96) % 4
    x = torch.randn(96, 1, 8, 8, generator=draws) + y[:, None, None, None]
    x, y = x.to(where), y.to(where)
    train, valid = Dataset(x[:64], y[:64]), Dataset(x[64:], y[64:])
    return DataBunch(DataLoader(train, 16, shuffle=True), DataLoader(valid, 32), c=4)


ADAMW = partial(torch.optim.AdamW, lr=0.01)


def learner(callbacks=(), device=HERE, dropout=0.2, data=None, opt=ADAMW, **kwargs):
    seed(0)
    return Learner(
        net(dropout),
        opt,
        nn.CrossEntropyLoss(),
        data or bunch(),
        [Device(device), *callbacks],
        metrics=[accuracy],
        progress=False,
        **kwargs,
    )


def weights(learn):
    return {name: value.cpu() for name, value in learn.model.state_dict().items()}


def assert_same(a, b):
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name]), name


def test_model_state_and_predictions_are_there():
    learn = learner()
    learn.fit(1)
    assert {p.device.type for p in learn.model.parameters()} == {HERE.type}
    state = learn.opt.state[next(learn.model.parameters())]
    assert state["exp_avg"].device.type == HERE.type
    assert len(learn.predict(learn.data.valid_dl)) == 32
    assert learn.validate()["accuracy"] >= 0


def test_it_trains_as_the_cpu_does():
    there, here = learner(dropout=0.0), learner(device="cpu", dropout=0.0)
    there.fit(2)
    here.fit(2)
    for name, value in weights(there).items():
        torch.testing.assert_close(value, weights(here)[name], atol=2e-3, rtol=1e-2)
    losses = [learn.run.history["loss"] for learn in (there, here)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [ParamScheduler("lr", one_cycle(0.02)), EMA(0.9), ClipGradients(1.0)],
        lambda: [BatchTransform(rotate=10.0, shift=0.1), MixUp()],
        lambda: [MixedPrecision("bf16"), Accumulate(2)],
        lambda: [GradientStats(), ActivationStats()],
    ],
    ids=["schedule, average, clipping", "augmented and mixed", "bf16, windows", "statistics"],
)
def test_a_run_is_the_same_twice_and_after_a_stop_within_an_epoch(tmp_path, callbacks):
    straight, again = learner(), learner()
    straight.fit(3, callbacks())
    again.fit(3, callbacks())
    assert_same(straight, again)
    saved = lambda: Checkpoint(tmp_path / "saved", background=True)  # noqa: E731
    learner().fit(3, [*callbacks(), saved(), StopAt(3)])
    resumed = learner()
    resumed.fit(3, [*callbacks(), saved()], resume="auto")
    assert_same(straight, resumed)
    assert resumed.run.history["loss"] == straight.run.history["loss"]


def test_random_numbers_of_the_program_go_on_as_if_nothing_had_been_trained():
    torch.manual_seed(5)
    torch.empty(1, device=HERE).uniform_()
    before = torch.rand(3, device=HERE)
    torch.manual_seed(5)
    torch.empty(1, device=HERE).uniform_()
    own = learner()
    torch.manual_seed(5)
    torch.empty(1, device=HERE).uniform_()
    own.fit(1)
    assert torch.equal(torch.rand(3, device=HERE), before)


def test_check_resume_finds_no_difference():
    assert learner([EMA(0.9)]).check_resume(epochs=2)


def test_float16_with_a_loss_scale_learns():
    learn = learner([MixedPrecision("fp16", init_scale=2.0**10)])
    run = learn.fit(8)
    assert run.history["loss"][-1] < run.history["loss"][0]
    assert run.history["loss_scale"][-1] > 0


def test_looking_changes_nothing():
    learn = learner()
    learn.fit(1)
    before = weights(learn)
    learn.summary()
    learn.audit()
    learn.find_lr(steps=10)
    learn.rehearse(2)
    learn.validate()
    for name, value in weights(learn).items():
        assert torch.equal(value, before[name]), name


@only_cuda
@pytest.mark.parametrize("mixing", [(), (MixUp,), (CutMix,)], ids=["", "MixUp", "CutMix"])
def test_nothing_waits_for_the_device_while_nothing_reports(mixing):
    class Strict(Callback):
        def begin_batch(self, run):
            if run.training and run.n_iter == 1:  # so that a batch is read, too
                torch.cuda.set_sync_debug_mode("error")

        def after_batch(self, run):
            if run.training and run.n_iter == 3:  # before the pass ends, which reads the losses
                torch.cuda.set_sync_debug_mode("default")

    def callbacks():
        return [MixedPrecision("bf16"), ClipGradients(1.0), EMA(0.9), *(make() for make in mixing)]

    learn = learner(data=bunch(HERE))
    learn.fit(1, callbacks())
    try:
        learn.fit(1, [Strict(), *callbacks()])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@only_cuda
def test_fits_leave_no_memory_behind():
    learn = learner()
    learn.fit(1)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        learn.fit(1, [GradientStats()])
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 2**16


@only_cuda
def test_the_fused_step_trains_as_the_eager_one():
    fused = learner(compile="always", dropout=0.0, data=bunch(HERE))
    eager = learner(dropout=0.0, data=bunch(HERE))
    callbacks = lambda: [ParamScheduler("lr", one_cycle(0.02)), ClipGradients(1.0)]  # noqa: E731
    for learn in (fused, eager):
        learn.fit(2, callbacks())
    for name, value in weights(fused).items():
        torch.testing.assert_close(value, weights(eager)[name], atol=2e-3, rtol=1e-2)


@only_cuda
@pytest.mark.parametrize("opt", [partial(torch.optim.SGD, lr=0.1, momentum=0.9), ADAMW])
@pytest.mark.parametrize("callbacks", [list, lambda: [Accumulate(2), EMA(0.9), MixUp()]])
def test_a_fused_step_is_captured_and_trains_as_one_that_is_not(opt, callbacks):
    learners = [learner(compile="always", dropout=0.0, data=bunch(HERE), opt=opt) for _ in "ab"]
    learners[1].graphs.captures = False
    for learn in learners:
        counters.clear()
        learn.fit(3, [ParamScheduler("lr", one_cycle(0.02)), *callbacks()])
        assert not counters["inductor"]["cudagraph_skips"]
    captured, compiled = (weights(learn) for learn in learners)
    for name, value in captured.items():
        torch.testing.assert_close(value, compiled[name], atol=1e-5, rtol=1e-4)


@only_cuda
def test_no_window_and_no_other_fit_is_captured_anew():
    from torch._inductor.cudagraph_trees import get_manager

    learn = learner([Accumulate(2)], compile="always", data=bunch(HERE))
    learn.fit(2)
    manager = get_manager(torch.cuda.current_device(), create_if_none_exists=False)
    captured = len(list(manager.get_roots()))
    learn.fit(3)
    assert len(list(manager.get_roots())) == captured > 0


@only_cuda
def test_a_captured_step_goes_on_after_a_stop_with_the_same_bits(tmp_path):
    def make():
        return learner(compile="always", data=bunch(HERE))  # with dropout

    straight, stopped = make(), make()
    straight.fit(3)
    stopped.fit(3, [Checkpoint(tmp_path / "saved"), StopAt(6)])
    resumed = make()
    resumed.fit(3, [Checkpoint(tmp_path / "saved")], resume="auto")
    assert_same(straight, resumed)


@only_cuda
def test_batches_of_workers_arrive_from_pinned_memory():
    data = bunch()
    data.train_dl = torch.utils.data.DataLoader(
        data.train_dl.dataset, 16, num_workers=2, pin_memory=True
    )
    assert learner(data=data).fit(1).n_steps == 4

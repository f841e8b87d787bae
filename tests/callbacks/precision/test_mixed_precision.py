"""Half precision, with loss scaling where it is needed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Layer, Learner
from lehr.callbacks import (
    EMA,
    SAM,
    Accumulate,
    ClipGradients,
    Closure,
    MixedPrecision,
    ParamScheduler,
)
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


def dtypes_of(learn):
    seen = []
    learn.model[0].register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    return seen


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_the_model_computes_in_it_and_the_loss_is_single(name, dtype):
    class Look(Callback):
        state = ()

        def after_loss(self, run):
            assert run.pred.dtype == run.loss.dtype == torch.float32

    learn = tiny_learner([MixedPrecision(name), Look()])
    seen = dtypes_of(learn)
    learn.fit(1)
    learn.validate()
    learn.predict(learn.data.valid_dl)
    assert set(seen) == {dtype}
    plain = tiny_learner()
    seen = dtypes_of(plain)
    plain.fit(1)
    assert set(seen) == {torch.float32}


def written_by_hand(opt, model, batches, epochs, scale):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    for _ in range(epochs):
        for x, y in batches:
            with torch.autocast("cpu", torch.float16):
                pred = model(x)
            scaler.scale(F.cross_entropy(pred.float(), y)).backward()
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
    return scaler


def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    draw = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(5):
        x = torch.randn(6, 3, generator=draw)
        batches.append((x, (x.sum(1) > 0).long()))
    return model, torch.optim.Adam(model.parameters(), lr=0.01), batches


def fitted(callbacks, epochs=2):
    model, opt, batches = problem()
    learn = Learner(model, opt, F.cross_entropy, DataBunch(batches), callbacks, progress=False)
    return learn.fit(epochs)


@pytest.mark.parametrize("scale", [2.0**10, 2.0**21])  # the second overflows at first
def test_it_is_bit_for_bit_the_loop_that_torch_documents(scale):
    mixed = MixedPrecision("fp16", init_scale=scale)
    run = fitted([mixed])
    model, opt, batches = problem()
    scaler = written_by_hand(opt, model, batches, 2, scale)
    assert mixed.scaler.get_scale() == scaler.get_scale()
    for p, q in zip(run.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert (run.n_steps < run.n_iter) == (scale > 2.0**15)
    single = fitted([])
    assert not torch.equal(single.model[0].weight, model[0].weight)


class Overflow(Callback):
    """Makes the gradient of one batch infinite."""

    layer = Layer.PRECISION
    before = ("MixedPrecision",)
    state = ()

    def __init__(self, batch):
        self.batch = batch

    def backward(self, run, proceed):
        proceed()
        if run.n_iter == self.batch:
            run.model[0].weight.grad[0, 0] = torch.inf


def test_a_step_that_overflows_advances_nothing():
    ema = EMA(0.9, keep=False)
    schedule = ParamScheduler("lr", sched_lin(0.01, 0.0))
    mixed = MixedPrecision("fp16", init_scale=2.0**10)
    run = fitted([mixed, Overflow(2), ema, schedule], epochs=1)
    assert (run.n_iter, run.n_steps, ema.average.count) == (5, 4, 4)
    assert run.history["loss_scale"] == [2.0**10] * 3 + [2.0**9] * 2
    rates = run.history["lr"]
    assert rates[2] == rates[3] != rates[4]
    assert all(p.isfinite().all() for p in run.model.parameters())


def test_the_scale_grows_and_is_recorded():
    run = fitted([MixedPrecision("fp16", init_scale=4.0, growth_every=4)])
    assert run.history["loss_scale"] == [4.0] * 4 + [8.0] * 4 + [16.0] * 2
    assert "loss_scale" not in fitted([MixedPrecision("bf16")]).history


def test_the_norm_that_is_clipped_is_of_the_unscaled_gradient():
    scaled = fitted([MixedPrecision("fp16", init_scale=2.0**12), ClipGradients(0.1)])
    small = fitted([MixedPrecision("fp16", init_scale=2.0**2), ClipGradients(0.1)])
    assert scaled.history["grad_norm"] == pytest.approx(small.history["grad_norm"], rel=1e-2)


def test_windows_and_two_looks_a_step_go_with_it():
    callbacks = [MixedPrecision("fp16", init_scale=2.0**10), Accumulate(2), SAM(0.05)]
    run = fitted([*callbacks, ClipGradients(1.0)])
    assert (run.n_iter, run.n_steps) == (10, 6)
    plain = fitted([Accumulate(2), SAM(0.05), ClipGradients(1.0)])
    for p, q in zip(run.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=2e-2)


def test_a_gradient_that_overflows_leads_sam_nowhere():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    learn = tiny_learner([MixedPrecision("fp16", init_scale=2.0**20), SAM(0.05)], model=model)
    run = learn.fit(3)
    assert 0 < run.n_steps < run.n_iter
    assert all(buffer.isfinite().all() for buffer in model.buffers())
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_callback_that_replaces_the_step_does_not_stop_it():
    class Own(Callback):
        layer = Layer.SEARCH
        state = ()

        def step(self, run, proceed):
            run.opt.step()
            run.stepped = True

    run = fitted([MixedPrecision("fp16", init_scale=2.0**10), Own()])
    assert run.n_steps == 10


def test_outputs_of_any_form_become_single():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return {"a": self.layer(x), "b": [self.layer(x), torch.arange(2)]}

    def loss_func(out, target):
        assert out["a"].dtype == out["b"][0].dtype == torch.float32
        assert out["b"][1].dtype == torch.int64
        return F.cross_entropy(out["a"], target)

    _, _, batches = problem()
    opt = lambda ps: torch.optim.SGD(ps, lr=0.1)  # noqa: E731
    Learner(Two(), opt, loss_func, DataBunch(batches), [MixedPrecision()], progress=False).fit(1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dtype": "fp8"}, 'dtype must be "bf16" or "fp16"; got \'fp8\''),
        ({"init_scale": 0}, "init_scale must be above 0; got 0"),
        ({"growth_every": 0}, "growth_every must be at least 1; got 0"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, text):
    with pytest.raises(ValueError, match=text):
        MixedPrecision(**arguments)


def test_its_repr_says_how_it_was_made():
    assert repr(MixedPrecision("fp16")) == "MixedPrecision('fp16')"


def test_float16_is_refused_beside_a_closure_and_bfloat16_is_not():
    def learner(dtype):
        lbfgs = lambda ps: torch.optim.LBFGS(ps, max_iter=2)  # noqa: E731
        return tiny_learner([MixedPrecision(dtype), Closure()], opt=lbfgs)

    match = r'^MixedPrecision cannot be used together with Closure: with "fp16", an overflow'
    with pytest.raises(ValueError, match=match):
        learner("fp16").fit(1)
    assert learner("bf16").fit(1).n_steps == 4


def complex_learner(*callbacks):
    weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    model = nn.Linear(3, 2)
    model.turn = weight
    model.forward = lambda x: F.linear((x * weight).real, model.weight, model.bias)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    return tiny_learner(list(callbacks), model=model, opt=opt)


def test_complex_parameters_have_no_loss_scale():
    with pytest.raises(ValueError, match=r'^MixedPrecision\("fp16"\) cannot train complex param'):
        complex_learner(MixedPrecision("fp16")).fit(1)
    assert complex_learner(MixedPrecision("bf16")).fit(1).n_steps == 4
    complex_learner(MixedPrecision("fp16")).validate()  # there is nothing to scale


def test_the_scale_is_recorded_without_waiting_for_the_device(monkeypatch):
    def waits(self):
        raise AssertionError

    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", waits)
    learn = tiny_learner([MixedPrecision("fp16", init_scale=8.0)], rehearsal=False)
    assert learn.fit(1).history["loss_scale"] == [8.0] * 4

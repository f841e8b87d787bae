"""The actions are enough: each technique is a class of a few lines, none touches the loop."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_

from lehr import Callback, CancelBatch, DataBunch, Layer, Learner
from lehr.callbacks import (
    EMA,
    GAN,
    SAM,
    Accumulate,
    ClipGradients,
    MixedPrecision,
    ParamScheduler,
)
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


def scaling(scale=2.0**10):
    """Loss scaling, in the precision that the model has."""
    return Scaled("fp16", init_scale=scale)


class Scaled(MixedPrecision):
    """Scales the loss, and predicts in the precision of the model."""

    def predict(self, run, proceed):
        proceed()


class Closure(Callback):
    """Let an optimizer such as LBFGS ask for loss and gradient as often as it likes."""

    layer = Layer.SEARCH
    regrads = True

    def step(self, run, proceed):
        run.opt.step(run.regrad)
        run.stepped = True


def problem(n=44, double=True):
    generator = torch.Generator().manual_seed(0)
    dtype = torch.float64 if double else torch.float32
    x = torch.randn(n, 3, generator=generator, dtype=dtype)
    y = (x.sum(1) > 0).long()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
    batches = list(zip(x.split(8), y.split(8), strict=True))
    return model, batches


def learner(model, batches, callbacks, opt=None):
    opt = opt or torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    data = DataBunch(batches)
    return Learner(model, opt, F.cross_entropy, data, callbacks, seed=0, progress=False)


def distance(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max((p - q).abs().max().item() for p, q in pairs)


def mean_loss(model, window):
    """The loss of the one big batch."""
    x, y = (torch.cat(parts) for parts in zip(*window, strict=True))
    return F.cross_entropy(model(x), y)


def windows(batches, n):
    return [batches[i : i + n] for i in range(0, len(batches), n)]


def test_accumulation_fp16_clip_and_sam_together_equal_the_update_written_by_hand():
    """In fp64, where only the order of sums differs; scaling by a power of two is exact there."""
    n, rho, max_norm, epochs = 3, 0.05, 0.1, 2
    ours, batches = problem()
    callbacks = [ClipGradients(max_norm), SAM(rho), scaling(), Accumulate(n)]
    run = learner(ours, batches, callbacks).fit(epochs)

    hand, _ = problem()
    opt = torch.optim.SGD(hand.parameters(), lr=0.3, momentum=0.9)
    for _ in range(epochs):
        for window in windows(batches, n):
            opt.zero_grad()
            mean_loss(hand, window).backward()
            clip_grad_norm_(hand.parameters(), max_norm)
            before = [p.detach().clone() for p in hand.parameters()]
            norm = torch.stack([p.grad.norm() for p in hand.parameters()]).norm()
            with torch.no_grad():
                for p in hand.parameters():
                    p.add_(rho * p.grad / (norm + 1e-12))
            opt.zero_grad()
            mean_loss(hand, window).backward()
            clip_grad_norm_(hand.parameters(), max_norm)
            with torch.no_grad():
                for p, old in zip(hand.parameters(), before, strict=True):
                    p.copy_(old)
            opt.step()
    assert run.n_steps == epochs * 2
    assert distance(ours, hand) <= 1e-12
    # Negative controls: each part matters to more than the tolerance.
    for left_out in range(4):
        if left_out == 2:
            continue  # scaling changes nothing but the range, which is its purpose
        other, _ = problem()
        learner(other, batches, [c for i, c in enumerate(callbacks) if i != left_out]).fit(epochs)
        assert distance(other, hand) > 1e-6, callbacks[left_out]


PARTS = ("precision", "accumulation", "clipping", "averaging", "scheduling")
SUBSETS = [on for n in range(len(PARTS) + 1) for on in combinations(PARTS, n)]


def parts(on):
    """The callbacks of those that are on, in the order of the names."""
    make = {
        "precision": scaling,
        "accumulation": lambda: Accumulate(3),
        "clipping": lambda: ClipGradients(0.1),
        "averaging": lambda: EMA(0.7),
        "scheduling": lambda: ParamScheduler("lr", sched_lin(0.4, 0.1)),
    }
    return [make[name]() for name in on]


def in_the_published_order(on, epochs=2):
    """The update written by hand: one gradient for the window, clipped, with the rate of the step;
    then the average. Scaling by a power of two changes nothing."""
    model, batches = problem()
    opt = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    groups = windows(batches, 3 if "accumulation" in on else 1)
    average, steps = [torch.zeros_like(p) for p in model.parameters()], epochs * len(groups)
    for step in range(steps):
        opt.zero_grad()
        mean_loss(model, groups[step % len(groups)]).backward()
        if "clipping" in on:
            clip_grad_norm_(model.parameters(), 0.1)
        if "scheduling" in on:
            opt.param_groups[0]["lr"] = 0.4 + (0.1 - 0.4) * step / steps
        opt.step()
        with torch.no_grad():
            for mean, p in zip(average, model.parameters(), strict=True):
                mean.mul_(0.7).add_(p, alpha=0.3)
    if "averaging" in on:
        with torch.no_grad():
            for mean, p in zip(average, model.parameters(), strict=True):
                p.copy_(mean / (1 - 0.7**steps))
    return model


@pytest.mark.parametrize("on", SUBSETS, ids=lambda on: "-".join(on) or "none")
def test_the_order_holds_whichever_of_them_are_on(on):
    """Precision, accumulation, clipping, averaging and scheduling, in all 32 combinations and from
    either end of the list: the weights of the update that is written by hand."""
    hand = in_the_published_order(on)
    for callbacks in (parts(on), parts(on)[::-1]):
        ours, batches = problem()
        learner(ours, batches, callbacks).fit(2)
        assert distance(ours, hand) <= 1e-12


def test_each_of_them_matters_to_the_update_but_the_scale():
    """The control: by hand, whichever are on, one more or less is another result."""
    ends = {on: in_the_published_order(on) for on in SUBSETS}
    for on, other in combinations(SUBSETS, 2):
        differ = set(on) ^ set(other)
        apart = distance(ends[on], ends[other])
        assert apart == 0 if differ == {"precision"} else apart > 1e-6, (on, other)


def test_lbfgs_accumulation_and_clip_together_equal_the_closure_written_by_hand():
    n, max_norm = 3, 0.5
    ours, batches = problem()
    opt = torch.optim.LBFGS(ours.parameters(), lr=0.5, max_iter=3)
    learner(ours, batches, [Closure(), Accumulate(n), ClipGradients(max_norm)], opt).fit(2)

    hand, _ = problem()
    opt = torch.optim.LBFGS(hand.parameters(), lr=0.5, max_iter=3)
    for _ in range(2):
        for window in windows(batches, n):

            def closure(window=window):
                opt.zero_grad()
                loss = mean_loss(hand, window)
                loss.backward()
                clip_grad_norm_(hand.parameters(), max_norm)
                return loss

            opt.step(closure)
    assert distance(ours, hand) <= 1e-9
    unclipped, _ = problem()
    opt = torch.optim.LBFGS(unclipped.parameters(), lr=0.5, max_iter=3)
    learner(unclipped, batches, [Closure(), Accumulate(n)], opt).fit(2)
    assert distance(unclipped, hand) > 1e-6


def test_the_order_of_the_list_does_not_matter_where_layers_differ():
    results = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        model, batches = problem()
        callbacks = [ClipGradients(0.1), SAM(0.05), scaling(), Accumulate(3)]
        learner(model, batches, [callbacks[i] for i in order]).fit(2)
        results.append(model)
    assert distance(results[0], results[1]) == distance(results[0], results[2]) == 0


def test_fp16_on_the_cpu_trains_and_a_forced_overflow_advances_nothing():
    class Overflow(Callback):
        def backward(self, run, proceed):
            proceed()
            if run.n_iter == 2:
                run.model[0].weight.grad[0, 0] = torch.inf

    class Steps(Callback):
        def begin_fit(self, run):
            self.before_third = self.positions = None
            self.positions = []

        def begin_batch(self, run):
            self.positions.append(run.pos)

        def after_step(self, run):
            self.last = run.n_steps

    model, batches = problem(double=False)
    scaling, steps = MixedPrecision("fp16", init_scale=2.0**10), Steps()
    learn = learner(model, batches, [scaling, Overflow(), steps])
    first = F.cross_entropy(model(batches[0][0]), batches[0][1]).item()
    run = learn.fit(3)
    assert run.history["loss"][-1] < first
    assert (run.n_iter, run.n_steps, steps.last) == (18, 17, 17)
    assert scaling.scaler.get_scale() == 2.0**9
    assert steps.positions[2] == steps.positions[3] == 2 / 18
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_half_precision_was_really_used():
    seen = []
    model, batches = problem(double=False)
    model[0].register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    learner(model, batches, [MixedPrecision("fp16", init_scale=2.0**10)]).fit(1)
    assert set(seen) == {torch.float16}


def test_clipping_is_of_the_unscaled_gradient_of_the_whole_window_once_a_step():
    model, batches = problem()
    run = learner(model, batches, [scaling(), ClipGradients(1e-3), Accumulate(3)]).fit(1)
    plain, _ = problem()
    mean_loss(plain, batches[:3]).backward()
    norm = torch.stack([p.grad.norm() for p in plain.parameters()]).norm()
    assert len(run.history["grad_norm"]) == run.n_steps == 2
    assert run.history["grad_norm"][0] == pytest.approx(norm.item(), abs=1e-12)


def test_sam_replays_the_same_dropout():
    class Masks(SAM):
        def predict(self, run, proceed):
            proceed()
            self.__dict__.setdefault("masks", []).append(run.model[1].mask.clone())

    class Dropout(nn.Dropout):
        def forward(self, x):
            out = super().forward(torch.ones_like(x))
            self.mask = out != 0
            return x * out

    model, batches = problem(double=False)
    model[1] = Dropout(0.5)
    spy = Masks(0.05)
    learner(model, batches, [spy]).fit(1)
    for first, second in zip(spy.masks[::2], spy.masks[1::2], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(spy.masks[0], spy.masks[2])


def test_regrad_needs_a_callback_that_declares_it_and_leaves_the_batch_alone():
    class Undeclared(SAM):
        regrads = False

    model, batches = problem()
    with pytest.raises(RuntimeError, match=r"run.regrad\(\) has no batches.*Set regrads = True"):
        learner(model, batches, [Undeclared(0.1)]).fit(1)

    class Check(SAM):
        def step(self, run, proceed):
            loss, pred, xb = run.loss, run.pred, run.xb
            mean = run.regrad()
            assert run.loss is loss
            assert run.pred is pred
            assert run.xb is xb
            assert mean.item() == loss.item()
            proceed()

    learner(model, batches, [Check(0.1)]).fit(1)


def test_batches_are_kept_only_if_somebody_regrads():
    learn = tiny_learner()

    class Look(Callback):
        def after_backward(self, run):
            assert run.window._kept == []

    learn.callbacks.append(Look())
    learn.fit(1)


def test_a_gan_with_two_optimizers_is_one_callback():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(512, 1, generator=generator) * 0.5 + 4
    torch.manual_seed(0)
    model = nn.ModuleDict({"generator": nn.Linear(1, 1), "critic": nn.Linear(1, 1)})
    opts = {name: torch.optim.SGD(model[name].parameters(), lr=0.05) for name in model}
    data = DataBunch([(x,) for x in real.split(64)])
    gan = GAN(1, n_crit=1, n_gen=1)
    learn = Learner(model, opts, GAN.wasserstein, data, [gan], seed=0, progress=False)
    before = [p.detach().clone() for p in model.parameters()]
    run = learn.fit(2)
    assert (run.n_iter, run.n_steps) == (16, 16)
    assert set(run.history.series) >= {"critic_loss", "generator_loss"}
    # The critic's bias cancels in its loss; everything else has moved.
    assert [not torch.equal(p, q) for p, q in zip(before, [*model.parameters()], strict=True)] == [
        True
    ] * 3 + [False]


class CancelAt(Callback):
    """Cancels one batch after its loss, before backward."""

    def __init__(self, batch):
        self.batch = batch

    def after_loss(self, run):
        if run.training and run.batch_index == self.batch:
            raise CancelBatch


class Gradients(Callback):
    """Keeps the gradient that the optimizer is given."""

    def begin_fit(self, run):
        self.seen = []

    def finish_grad(self, run, proceed):
        proceed()
        self.seen.append([p.grad.clone() for p in run.trained_parameters()])


def test_a_window_whose_last_batch_was_cancelled_has_the_gradient_of_its_batches():
    for cancelled, n, kept in ((3, 2, [2]), (3, 4, [0, 1, 2]), (1, 2, [0])):
        model, batches = problem(n=32)
        spy = Gradients()
        with_grad = learner(model, batches[: max(4, cancelled + 1)], [spy, CancelAt(cancelled)])
        with_grad.callbacks.append(Accumulate(n))
        with_grad.opt = torch.optim.SGD(model.parameters(), lr=0.0)
        with_grad.fit(1)
        plain, _ = problem(n=32)
        if (cancelled, n) == (1, 2):  # batch 2 joins the window that 1 left open
            kept = [0, 2]
        mean_loss(plain, [batches[i] for i in kept]).backward()
        last = spy.seen[0] if (cancelled, n) == (1, 2) else spy.seen[-1]
        for ours, p in zip(last, plain.parameters(), strict=True):
            torch.testing.assert_close(ours, p.grad, rtol=0, atol=1e-12)


def test_regrad_leaves_out_a_batch_that_was_cancelled():
    class Compare(Callback):
        regrads = True
        layer = Layer.SEARCH

        def step(self, run, proceed):
            before = [p.grad.clone() for p in run.trained_parameters()]
            loss = run.regrad()
            for old, p in zip(before, run.trained_parameters(), strict=True):
                torch.testing.assert_close(old, p.grad, rtol=0, atol=1e-12)
            self.loss = loss.item()
            proceed()

    model, batches = problem(n=16)
    compare = Compare()
    run = learner(model, batches, [compare, CancelAt(0)]).fit(1)
    assert compare.loss == pytest.approx(run.history["loss"][-1], abs=1e-12)


def test_regrad_replays_named_streams_and_logs_nothing():
    class Noise(Callback):
        def begin_fit(self, run):
            self.drawn = []

        def predict(self, run, proceed):
            self.drawn.append(torch.rand(1, generator=run.stream("noise")).item())
            proceed()

    noise = Noise()
    model, batches = problem()
    run = learner(model, batches, [noise, SAM(0.05), ClipGradients(1.0)]).fit(1)
    assert noise.drawn[::2] == noise.drawn[1::2]
    assert len(set(noise.drawn)) == len(noise.drawn) / 2
    assert run.history.series["grad_norm"].batches == list(range(run.n_steps))


def test_the_composition_in_real_half_precision_follows_the_one_in_double():
    def trained(dtype, scaling):
        model, batches = problem(double=dtype is None)
        callbacks = [ClipGradients(0.1), SAM(0.05), Accumulate(3), scaling]
        learner(model, batches, callbacks).fit(2)
        return model.double()

    exact = trained(None, scaling())
    assert (
        distance(trained(torch.float16, MixedPrecision("fp16", init_scale=2.0**10)), exact) < 0.05
    )

    class NeverUnscale(MixedPrecision):
        def finish_grad(self, run, proceed):
            proceed()

        def step(self, run, proceed):
            proceed()

    model, batches = problem(double=False)
    wrong = [SAM(0.05), Accumulate(3), NeverUnscale("fp16", init_scale=2.0**10)]
    learner(model, batches, wrong).fit(2)
    assert not distance(model.double(), exact) < 0.1

"""What the lesson promises of callbacks, kept by `lehr.Callback`."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lehr
from lehr import Callback, CancelBatch, DataBunch, Layer, Learner
from lehr.callbacks import GAN, ActivationStats, GradientStats, MixedPrecision
from lehr.foundations import handler, runner
from lehr.testing import tiny_learner

SOURCE = Path(lehr.__file__).parent


def problem(batches=4, seed=0):
    """A small model and batches of ten items, always the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batches * 10, 3, generator=generator)
    y = (x.sum(1) > 0).long()
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    return model, list(zip(x.split(10), y.split(10), strict=True))


def learner(model, data, *callbacks, lr=0.1):
    data = data if hasattr(data, "train_dl") else DataBunch(data)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    return Learner(model, opt, F.cross_entropy, data, callbacks, seed=0, progress=False)


def equal(first, second):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


# What ends in the middle -------------------------------------------------------------------------


class Undone(Callback):
    """Notes what it hears of the end."""

    def begin_fit(self, run):
        self.heard = []
        run.defer(lambda: self.heard.append("undone"))

    def after_fit(self, run):
        self.heard.append("after_fit")


def test_an_error_leaves_the_batch_at_hand_and_its_own_traceback():
    """A wrong shape at batch 5 surfaces as the model's own error, from the very line; the batch is
    in `learn.run`, and what callbacks have put up is undone. Without an error the batch is gone."""
    model, batches = problem(8)
    wrong = torch.zeros(6, 5), torch.zeros(6).long()
    undone = Undone()
    learn = learner(model, [*batches[:5], wrong, *batches[6:]], undone)
    with pytest.raises(RuntimeError, match="6x5 and 3x4") as caught:
        learn.fit(1)
    assert "torch" in str(caught.traceback[-1].path)
    assert "forward" in [entry.name for entry in caught.traceback]
    assert learn.run.batch_index == 5
    assert (learn.run.xb.shape, learn.run.yb.shape) == ((6, 5), (6,))
    assert undone.heard == ["undone"]
    whole = learner(*problem(8), undone)
    whole.fit(1)
    assert whole.run.xb is None
    assert undone.heard == ["after_fit", "undone"]


def test_an_error_in_a_callback_is_not_swallowed_and_says_where():
    """An error of a callback's own keeps its type and its line, with a note that names callback,
    epoch and batch."""

    class Faulty(Callback):
        def after_loss(self, run):
            if run.batch_index == 2:
                raise ZeroDivisionError("of my own")

    with pytest.raises(ZeroDivisionError, match="of my own") as caught:
        learner(*problem(), Faulty()).fit(1)
    assert caught.traceback[-1].name == "after_loss"
    note = " ".join(caught.value.__notes__)
    assert "Faulty" in note
    assert "batch 2" in note


# One loop ----------------------------------------------------------------------------------------


def loops(path):
    """The lines on which a file trains by itself: it calls backward(), or runs over train_dl."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found += [node.lineno] * (node.func.attr == "backward")
        if isinstance(node, ast.For):
            found += [node.lineno] * ("train_dl" in ast.unparse(node.iter))
    return found


def test_no_callback_of_the_library_has_a_loop_of_its_own():
    """Every extension is a callback and none copies the loop: no file of the callbacks calls
    backward or runs over the training loader, as the files that hold a loop do."""
    rungs = [SOURCE / f"foundations/{name}.py" for name in ("callback", "anneal")]
    for path in [*SOURCE.glob("callbacks/**/*.py"), *rungs]:
        assert loops(path) == [], path
    assert len(loops(SOURCE / "foundations/fit.py")) == 2
    assert loops(SOURCE / "loop/loop.py")


class SampleMean(Callback):
    """Ends each epoch with the mean of a sample in the history."""

    state = ()

    def after_epoch(self, run):
        with torch.no_grad():
            noise = torch.randn(1000, 1, generator=run.stream("sample"))
            run.log("sample_mean", run.model["generator"](noise).mean())


class Moved(Callback):
    """Notes at each batch whose turn it is, and which networks' weights change."""

    layer = Layer.CAPTURE

    def __init__(self, gan):
        self.gan, self.turns = gan, []

    def one_batch(self, run, proceed):
        mode, before = self.gan.turn, self.weights(run)
        proceed()
        after = self.weights(run)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        self.turns.append((mode, moved))

    def weights(self, run):
        parts = run.model.items()
        return {name: nn.utils.parameters_to_vector(part.parameters()) for name, part in parts}


def gan_learner(batches, *callbacks):
    real = torch.randn(batches * 64, 1, generator=torch.Generator().manual_seed(0)) * 0.5 + 4
    torch.manual_seed(0)
    model = nn.ModuleDict({"generator": nn.Linear(1, 1), "critic": nn.Linear(1, 1)})
    rates = {"generator": 1.0, "critic": 0.5}
    opts = {name: torch.optim.SGD(model[name].parameters(), lr) for name, lr in rates.items()}
    data = DataBunch([(xb,) for xb in real.split(64)])
    callbacks = [*callbacks, SampleMean()]
    return Learner(model, opts, GAN.wasserstein, data, callbacks, seed=0, progress=False)


def test_a_gan_steps_one_network_at_a_time():
    """With five critic steps to one generator step, 60 batches make 50 and 10 steps, and each moves
    its own network only. If both optimizers step on every batch, both networks move."""
    gan = GAN(1, n_crit=5, n_gen=1, clip=100.0)
    moved = Moved(gan)
    learn = gan_learner(60, gan, moved)
    run = learn.fit(1)
    assert [mode for mode, _ in moved.turns] == (["critic"] * 5 + ["generator"]) * 10
    assert all(networks == {mode} for mode, networks in moved.turns)
    assert run.n_steps == 60
    assert len(run.history["critic_loss"]) == 50
    assert len(run.history["generator_loss"]) == 10
    assert all(p.requires_grad for p in learn.model.parameters())

    class Both(GAN):
        def backward(self, run, proceed):
            """Gives the other one, too, a gradient that the critic's loss does not."""
            proceed()
            for p in run.model.parameters():
                p.grad = torch.ones_like(p)

        def step(self, run, proceed):
            proceed()

    both = Both(1)
    moved = Moved(both)
    gan_learner(6, both, moved).fit(1)
    assert any(networks == {"critic", "generator"} for _, networks in moved.turns)


def test_a_gan_of_callbacks_learns_where_its_target_lies():
    """The generator, which begins near 0, ends with its mean within 0.3 of the target N(4, 0.5);
    after one tenth of the batches it is not there yet."""
    far, near = (gan_learner(batches, GAN(1, clip=0.1)).fit(1) for batches in (60, 600))
    assert abs(near.history["sample_mean"][-1] - 4) < 0.3
    assert abs(far.history["sample_mean"][-1] - 4) > 1


def hooks_left(model):
    return sum(len(layer._forward_hooks) + len(layer._backward_hooks) for layer in model)


def test_hooks_see_forward_and_backward_and_are_gone_after_the_fit():
    """What a layer puts out is recorded once a batch, in both passes apart; the gradients of its
    parameters once a training batch: the last record of each is the last batch's by hand."""
    model, batches = problem()
    outputs, gradients = ActivationStats(), GradientStats()
    learn = learner(model, DataBunch(batches, batches[:2]), outputs, gradients, lr=0.0)
    learn.fit(1)
    assert (outputs.train.batches, len(outputs.valid.batches)) == ([0, 1, 2, 3], 2)
    xb, yb = batches[-1]
    by_hand = model(xb)
    seen = outputs.train.values()[:, outputs.train.layers.index("2")]
    torch.testing.assert_close(seen[-1, 0], by_hand.detach().mean())
    torch.testing.assert_close(seen[-1, 1], by_hand.detach().std(correction=0))
    assert not torch.allclose(seen[0, :2], seen[-1, :2])
    F.cross_entropy(by_hand, yb).backward()
    norms = gradients.steps.values()[:, gradients.steps.layers.index("2.bias"), 0]
    assert len(norms) == 4
    torch.testing.assert_close(norms[-1], model[2].bias.grad.norm())
    assert not torch.allclose(norms[0], norms[-1])
    assert hooks_left(model) == 0


def test_hooks_are_gone_after_an_error_too():
    """The library's are undone however the fit ends; what is removed in `after_fit` stays."""

    class Careless(Callback):
        def begin_fit(self, run):
            self.handle = run.model[0].register_forward_hook(lambda *args: None)

        def after_fit(self, run):
            self.handle.remove()

    class Faulty(Callback):
        def after_loss(self, run):
            raise ArithmeticError

    for hooking, left in ((ActivationStats(), 0), (Careless(), 1)):
        model, batches = problem()
        with pytest.raises(ArithmeticError):
            learner(model, batches, hooking, Faulty()).fit(1)
        assert hooks_left(model) == left


def test_hooks_follow_the_statistics_of_every_layer_through_training():
    """Mean and spread of each layer's outputs are recorded for each batch; a dead layer shows as
    one whose outputs do not spread, and are all near zero."""
    spreads, near_zero = {}, {}
    for bias in (0.0, -100.0):
        model, batches = problem()
        with torch.no_grad():
            model[0].bias.fill_(bias)
        stats = ActivationStats()
        learner(model, batches, stats).fit(1)
        _, spreads[bias], near_zero[bias], *_ = stats.train.values()[:, 1].T
    assert len(spreads[0.0]) == 4
    assert spreads[0.0].min() > 0.05
    assert near_zero[0.0].max() < 1
    assert spreads[-100.0].max() == 0
    assert near_zero[-100.0].min() == 1


# Everything can be changed -----------------------------------------------------------------------


class ChangeData(Callback):
    def begin_batch(self, run):
        run.xb = run.xb * 2


class ChangeModel(Callback):
    def after_step(self, run):
        with torch.no_grad():
            run.model[0].weight.clamp_(-0.2, 0.2)


class ChangeLoss(Callback):
    def compute_loss(self, run, proceed):
        proceed()
        run.loss = run.loss + 0.1 * run.model[0].weight.square().sum()


class ChangeGradients(Callback):
    def finish_grad(self, run, proceed):
        proceed()
        for p in run.trained_parameters():
            p.grad.sign_()


class ChangeFlow(Callback):
    def begin_batch(self, run):
        if run.batch_index % 2:
            raise CancelBatch


def by_hand(changed):
    """The plain loop, with one of the five changes written into it."""
    model, batches = problem()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for i, (xb, yb) in enumerate(batches):
        if changed == "flow" and i % 2:
            continue
        loss = F.cross_entropy(model(xb * 2 if changed == "data" else xb), yb)
        if changed == "loss":
            loss = loss + 0.1 * model[0].weight.square().sum()
        loss.backward()
        if changed == "gradients":
            for p in model.parameters():
                p.grad.sign_()
        opt.step()
        opt.zero_grad()
        if changed == "model":
            with torch.no_grad():
                model[0].weight.clamp_(-0.2, 0.2)
    return model


@pytest.mark.parametrize(
    ("changed", "callback"),
    [
        ("data", ChangeData()),
        ("model", ChangeModel()),
        ("loss", ChangeLoss()),
        ("gradients", ChangeGradients()),
        ("flow", ChangeFlow()),
    ],
)
def test_a_callback_changes_data_model_loss_gradients_or_flow(changed, callback):
    """For each of the five, a callback ends with the very weights of a loop that was rewritten for
    it, and with others than the loop as it was."""
    model, batches = problem()
    learner(model, batches, callback).fit(1)
    assert equal(model, by_hand(changed))
    assert not equal(model, by_hand(None))


def test_gradients_add_up_until_they_are_cleared():
    """Backward adds to the gradients that are there: where nobody clears them, each step is made
    with the sum of all batches so far. The loop clears them, and a callback can leave that out."""

    class NeverClear(Callback):
        def zero_grad(self, run, proceed):
            pass

    class Gradients(Callback):
        def finish_grad(self, run, proceed):
            self.__dict__.setdefault("seen", []).append(run.model[0].weight.grad.clone())
            proceed()

    model, batches = problem()
    single = []
    for xb, yb in batches:
        model.zero_grad()
        F.cross_entropy(model(xb), yb).backward()
        single.append(model[0].weight.grad.clone())
    cleared, kept = Gradients(), Gradients()
    learner(problem()[0], batches, cleared, lr=0.0).fit(1)
    learner(problem()[0], batches, kept, NeverClear(), lr=0.0).fit(1)
    assert all(torch.equal(a, b) for a, b in zip(cleared.seen, single, strict=True))
    torch.testing.assert_close(kept.seen[-1], sum(single))
    assert not torch.allclose(kept.seen[-1], single[-1])


# Mixed precision ---------------------------------------------------------------------------------


def half(value):
    return torch.tensor(value, dtype=torch.float16)


def test_what_half_precision_can_hold():
    """In half precision 1 + 0.0001 is 1, 1.0005 becomes 1.0009766, 1e-8 becomes 0 while 512 times
    it survives, and nothing is larger than 65504. Single precision holds all of these."""
    assert half(1.0) + half(0.0001) == 1
    assert half(1.0005).item() == pytest.approx(1.0009766, abs=5e-8)
    assert half(1e-8) == 0
    assert half(512 * 1e-8).item() == pytest.approx(5.1e-6, rel=0.01)
    assert torch.finfo(torch.float16).max == 65504
    assert half(65504.0 * 2).isinf()
    assert torch.tensor(1.0) + torch.tensor(0.0001) > 1
    assert torch.tensor(1e-8) > 0


class Weight(nn.Module):
    """A single number, 1 at first."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1, 1, dtype=dtype))

    def forward(self, xb):
        return F.linear(xb, self.w)


def descended(gradient, lr, *callbacks, dtype=torch.float32):
    """The weight after 100 steps along a constant gradient."""
    model = Weight(dtype)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    data = DataBunch([(torch.ones(1, 1, dtype=dtype),)] * 100)
    Learner(
        model, opt, lambda pred: pred.float().mean() * gradient, data, callbacks, progress=False
    ).fit(1)
    assert model.w.dtype == dtype
    return model.w.item()


@pytest.mark.parametrize(("gradient", "lr"), [(0.01, 0.01), (1e-8, 1e4)])
def test_master_weights_and_loss_scaling_are_one_callback(gradient, lr):
    """A hundred updates of 0.0001 move a half-precision weight by nothing; with `MixedPrecision`
    the weight is single, the model computes in half, and it ends at 0.99, for a common gradient and
    for one of 1e-8. Without the scale the latter is lost again."""
    assert descended(gradient, lr, dtype=torch.float16) == 1
    assert descended(gradient, lr) == pytest.approx(0.99, abs=1e-5)
    mixed = MixedPrecision("fp16", init_scale=2.0**16)
    assert descended(gradient, lr, mixed) == pytest.approx(0.99, abs=5e-4)
    unscaled = descended(gradient, lr, MixedPrecision("fp16", init_scale=1.0))
    assert (unscaled == 1) is (gradient < 1e-6)


# Three protocols ---------------------------------------------------------------------------------


class HandlerCount(handler.Callback):
    def __init__(self):
        self.steps = self.losses = 0

    def after_loss(self, loss):
        self.losses += 1
        return True

    def after_step(self):
        self.steps += 1
        return True


class RunnerCount(runner.Callback):
    def __init__(self):
        self.steps = self.losses = 0

    def after_loss(self):
        self.losses += 1

    def after_step(self):
        self.steps += 1


class ProductCount(Callback):
    def __init__(self):
        self.steps = self.losses = 0

    def after_loss(self, run):
        self.losses += 1

    def after_step(self, run):
        self.steps += 1


def test_one_idea_in_three_protocols():
    """The same counting callback, written for the handler, the runner and the product, counts the
    same in all three, and all three end with the same weights, bit for bit."""
    fits = {
        HandlerCount: lambda learn, cb: handler.fit(2, learn, handler.CallbackHandler([cb])),
        RunnerCount: lambda learn, cb: runner.Runner(cb).fit(2, learn),
        ProductCount: lambda learn, cb: learn.fit(2, [cb]),
    }
    models = {}
    for kind, fit in fits.items():
        model, batches = problem(4)
        models[kind], cb = model, kind()
        fit(learner(model, DataBunch(batches, batches[:1])), cb)
        assert (cb.steps, cb.losses) == (8, 10)
    assert equal(models[HandlerCount], models[RunnerCount])
    assert equal(models[HandlerCount], models[ProductCount])
    assert not equal(models[HandlerCount], problem(4)[0])


def test_the_product_has_the_same_three_cancels():
    """Raised after the loss, they end the batch, the epoch and the fit; the number of steps and of
    epochs begun tells which."""

    class At(Callback):
        def __init__(self, cancel):
            self.cancel, self.epochs = cancel, 0

        def begin_epoch(self, run):
            self.epochs += 1

        def after_loss(self, run):
            if run.training and run.batch_index == 1:
                raise self.cancel

    for cancel, steps, epochs in (
        (lehr.CancelBatch, 6, 2),
        (lehr.CancelEpoch, 2, 2),
        (lehr.CancelFit, 1, 1),
    ):
        at = At(cancel)
        run = tiny_learner([at], items=32, batch_size=8).fit(2)
        assert (run.n_steps, at.epochs) == (steps, epochs)

"""Batches that go through the model in pieces, smaller ones where memory runs out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lehr.callbacks.loops.micro_batches
from lehr import Callback, CancelBatch, DataBunch, Learner, Run
from lehr.callbacks import (
    SAM,
    Accumulate,
    ClipGradients,
    Closure,
    GradientCheckpointing,
    LabelSmoothing,
    MicroBatches,
    MixedPrecision,
    MixUp,
)
from lehr.testing import tiny_learner


class Small(nn.Module):
    """A memory for so many items at a time; ``at`` says which pass runs out."""

    def __init__(self, room, at):
        super().__init__()
        self.room, self.at, self.sizes = room, at, []

    def forward(self, x):
        if torch.is_grad_enabled() or self.at == "evaluation":
            self.sizes.append(len(x))
            if len(x) > self.room and self.at in ("forward", "evaluation"):
                torch.rand(1), 0  # numbers that have to be drawn again
                raise torch.OutOfMemoryError("simulated")
        if self.at == "backward":
            return Backward.apply(x, self.room)
        return x


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, room):
        ctx.room = room
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        if len(grad) > ctx.room:
            raise torch.OutOfMemoryError("simulated")
        return grad, None


def problem(room=10**6, at="forward", dropout=0.0):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8), nn.Tanh(), Small(room, at), nn.Dropout(dropout), nn.Linear(8, 2)
    ).double()
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(44, 3, generator=draw, dtype=torch.float64)
    return model, list(zip(x.split(10), (x.sum(1) > 0).long().split(10), strict=True))


def learner(model, batches, *callbacks, opt=None, loss_func=F.cross_entropy, **named):
    opt = opt or torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    data = DataBunch(batches, batches[:2])
    return Learner(model, opt, loss_func, data, callbacks, progress=False, seed=0, **named)


def distance(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max((p - q).abs().max().item() for p, q in pairs)


def compared(loss_func):
    """A loss that looks at all items together: no mean of the losses of pieces."""

    def loss(out, yb):
        return F.cross_entropy(out, yb) + torch.cdist(out, out).square().mean()

    return {"usual": F.cross_entropy, "of pairs": loss}[loss_func]


@pytest.mark.parametrize("at", ["forward", "backward"])
@pytest.mark.parametrize("loss", ["usual", "of pairs"])
@pytest.mark.parametrize("window", [1, 3])
def test_where_memory_runs_out_the_weights_are_those_of_whole_batches(at, loss, window):
    micro = MicroBatches()
    together = [Accumulate(window)] if window > 1 else []
    small, batches = problem(room=3, at=at)
    run = learner(small, batches, micro, *together, loss_func=compared(loss)).fit(2)
    whole, _ = problem()
    straight = learner(whole, batches, *together, loss_func=compared(loss)).fit(2)
    assert distance(small, whole) <= 1e-12
    assert run.n_steps == straight.n_steps
    assert micro.size == 3
    assert set(run.history["micro_batch"]) == {3}
    assert run.history["loss"] == pytest.approx(straight.history["loss"], abs=1e-12)
    if loss == "of pairs":  # the control: means over pieces are something else
        other, _ = problem()
        pieces = [(x[i : i + 3], y[i : i + 3]) for x, y in batches for i in range(0, len(x), 3)]
        learner(other, pieces, loss_func=compared(loss)).fit(2)
        assert distance(other, whole) > 1e-3


def test_it_halves_until_a_piece_fits_and_keeps_that_size():
    model, batches = problem(room=3)
    run = learner(model, batches, MicroBatches()).fit(1)
    sizes = model[2].sizes
    assert sizes[:2] == [10, 5]
    assert sizes[2:10] == [2, 3, 2, 3, 3, 2, 3, 2]  # forward, then again, the last piece first
    assert len(sizes) == 2 + 4 * 8 + 2 * 2
    assert run.n_steps == 5


def test_it_begins_with_the_size_it_is_given():
    model, batches = problem(room=3)
    learner(model, batches, MicroBatches(2)).fit(1)
    assert set(model[2].sizes) == {2}


TOGETHER = {
    "clipped, and no item sure": lambda: [ClipGradients(0.1), LabelSmoothing(0.2)],
    "SAM in windows": lambda: [SAM(0.1), Accumulate(2)],
    "mixed items": lambda: [MixUp(1.0)],
    "scaled losses": lambda: [Scaled("fp16", init_scale=2.0**10), Accumulate(2)],
    "activations that are not kept": lambda: [GradientCheckpointing(["0", "1"])],
}


class Scaled(MixedPrecision):
    """Scales the loss, and predicts in the precision of the model."""

    def predict(self, run, proceed):
        proceed()


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("at", ["forward", "backward"])
def test_it_goes_together_with_other_techniques(name, at):
    small, batches = problem(room=3, at=at)
    run = learner(small, batches, MicroBatches(), *TOGETHER[name]()).fit(2)
    whole, _ = problem()
    straight = learner(whole, batches, *TOGETHER[name]()).fit(2)
    assert distance(small, whole) <= 1e-11
    assert run.history["loss"] == pytest.approx(straight.history["loss"], abs=1e-11)
    plain, _ = problem()
    learner(plain, batches).fit(2)
    if "kept" not in name and name != "scaled losses":
        assert distance(plain, whole) > 1e-4


def test_an_optimizer_that_asks_anew_gets_the_gradient_of_the_whole_batch():
    models = []
    for room in (3, 10**6):
        model, batches = problem(room)
        opt = torch.optim.LBFGS(model.parameters(), lr=0.3, max_iter=3)
        learner(model, batches, MicroBatches(), Closure(), opt=opt).fit(1)
        models.append(model)
    assert distance(*models) <= 1e-9


def test_half_precision_is_used_for_pieces_too():
    seen = set()
    model, batches = problem(room=3)
    model.float()
    model[0].register_forward_hook(lambda module, args, out: seen.add((len(out), out.dtype)))
    batches = [(x.float(), y) for x, y in batches]
    learner(model, batches, MicroBatches(), MixedPrecision("bf16")).fit(1)
    assert (3, torch.bfloat16) in seen
    assert {dtype for _, dtype in seen} == {torch.bfloat16}


@pytest.mark.parametrize("at", ["forward", "backward"])
def test_random_numbers_do_not_depend_on_how_often_it_failed(at, monkeypatch):
    """A batch that was tried with 10 and 5 items ends as one that began with pieces of 3."""
    found = []
    for first in (None, 3):
        model, batches = problem(3, at, dropout=0.5)
        learner(model, batches, MicroBatches(first)).fit(2)
        found.append(model)
    assert distance(*found) == 0
    monkeypatch.setattr(Run, "set_random_state", lambda run, state: None)
    model, batches = problem(3, at, dropout=0.5)
    learner(model, batches, MicroBatches()).fit(2)
    assert distance(model, found[0]) > 1e-4


def test_validation_and_predictions_are_cut_as_well():
    model, batches = problem(room=3, at="evaluation")
    learn = learner(model, batches, MicroBatches(), rehearsal=False)
    learn.fit(1)
    whole, _ = problem()
    whole.load_state_dict(model.state_dict())
    xb = torch.cat([x for x, _ in batches])
    model[2].sizes.clear()
    with torch.no_grad():
        expected = whole.eval()(xb)
    torch.testing.assert_close(learn.predict(xb), expected, rtol=0, atol=1e-12)
    assert sorted(model[2].sizes) == [2] + [3] * 14
    model, batches = problem(room=3, at="evaluation")
    with pytest.raises(torch.OutOfMemoryError):
        learner(model, batches).predict(xb)
    assert len(learner(model, batches, MicroBatches()).predict(xb)) == 44


def test_inputs_and_outputs_may_be_nested():
    class Two(nn.Module):
        def __init__(self, room):
            super().__init__()
            self.first, self.small, self.last = (
                nn.Linear(3, 4),
                Small(room, "forward"),
                nn.Linear(4, 2),
            )
            self.double()

        def forward(self, x, scale, *, bias):
            hidden = self.small(self.first(x)) * scale
            return {"logits": self.last(hidden + bias), "hidden": (hidden, None)}

    def loss(out, yb):
        return F.cross_entropy(out["logits"], yb) + out["hidden"][0].square().mean()

    models = []
    for room in (3, 100):
        torch.manual_seed(0)
        model = Two(room)
        bias = torch.ones(1, 4, dtype=torch.float64)  # no items to cut
        _, batches = problem()
        batches = [({"x": x, "scale": x[:, :1], "bias": bias}, y) for x, y in batches]
        learner(model, batches, MicroBatches(), loss_func=loss).fit(1)
        models.append(model)
    assert distance(*models) <= 1e-12


def test_an_item_for_which_there_is_no_memory_ends_the_fit():
    model, batches = problem(room=0)
    with pytest.raises(torch.OutOfMemoryError, match="simulated") as caught:
        learner(model, batches, MicroBatches()).fit(1)
    assert any("no smaller piece to try" in note for note in caught.value.__notes__)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        learner(*problem(room=3)).fit(1)
    assert not any("smaller piece" in note for note in caught.value.__notes__)


def test_a_loss_that_was_changed_in_an_event_is_not_lost_in_silence():
    class Penalty(Callback):
        def after_loss(self, run):
            if run.training:
                run.loss = run.loss + 0.1 * run.model[0].weight.square().sum()

    model, batches = problem(room=3, at="backward")
    with pytest.raises(torch.OutOfMemoryError) as caught:
        learner(model, batches, MicroBatches(), Penalty()).fit(1)
    assert any("has changed its prediction or its loss" in note for note in caught.value.__notes__)
    assert any("MicroBatches(5)" in note for note in caught.value.__notes__)
    whole, _ = problem()
    learner(whole, batches, Penalty()).fit(1)
    model, _ = problem(room=3, at="backward")
    learner(model, batches, MicroBatches(3), Penalty()).fit(1)
    assert distance(model, whole) <= 1e-12


def test_no_event_happens_twice_and_a_failed_try_is_nowhere_logged():
    class Count(Callback):
        def begin_fit(self, run):
            self.heard = []

        def after_loss(self, run):
            self.heard.append(len(run.pred))

        def predict(self, run, proceed):
            run.log("tried", 1.0)
            proceed()

    counts = []
    for room in (3, 100):
        count = Count()
        model, batches = problem(room, "backward")
        run = learner(model, batches, MicroBatches(), count).fit(1)
        counts.append((count.heard, run.history.series["tried"].batches))
    assert counts[0] == counts[1]


def test_batch_norm_is_warned_of_once_and_only_where_batches_are_cut():
    def with_norm():
        model, batches = problem()
        model[1] = nn.BatchNorm1d(8).double()
        return model, batches

    with pytest.warns(
        UserWarning, match="micro-batches of 4 items, and 1 is a BatchNorm1d"
    ) as seen:
        learner(*with_norm(), MicroBatches(4)).fit(2)
    assert len(seen) == 1
    learner(*with_norm(), MicroBatches()).fit(1)

    class Frozen(Callback):
        def begin_train(self, run):
            run.model[1].eval()

    (model, batches), (whole, _) = with_norm(), with_norm()
    learner(whole, batches, Frozen()).fit(1)
    learner(model, batches, MicroBatches(4), Frozen()).fit(1)
    assert distance(model, whole) <= 1e-12


@pytest.mark.filterwarnings("ignore:batches are cut into micro-batches")
def test_statistics_of_batch_norm_count_each_piece_once():
    model, batches = problem()
    model[1] = nn.BatchNorm1d(8).double()
    learner(model, batches, MicroBatches(5)).fit(1)
    assert model[1].num_batches_tracked == 4 * 2 + 1


def test_the_found_size_goes_on_after_a_stop():
    model, batches = problem(room=3)
    learn = learner(model, batches, MicroBatches())
    assert learn.check_resume(epochs=2, batches=3).ok
    found = MicroBatches()
    found.load_state_dict({"size": 3})
    assert found.state_dict() == {"size": 3}


class Mean(nn.Module):
    """One row for the whole batch, whatever it is made of."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(torch.stack(x) if isinstance(x, list) else x).mean(0, keepdim=True)


def test_an_output_that_cannot_be_put_together_is_refused():
    data = DataBunch([(torch.randn(6, 3), torch.zeros(1).long())])
    with pytest.raises(TypeError, match=r"for 3 items cannot be put together: in \(1, 2\) float32"):
        tiny_learner([MicroBatches(4)], model=Mean(), data=data).fit(1)
    assert tiny_learner([MicroBatches()], model=Mean(), data=data).fit(1).n_steps == 1


def test_a_list_of_items_is_never_cut_along_something_else():
    """Six tensors of three numbers each: the three are no items."""
    batch = ([torch.randn(3) for _ in range(6)],), torch.zeros(1).long()
    with pytest.raises(TypeError, match=r"cannot be cut .* the input is \[\[\(3,\) float32"):
        tiny_learner([MicroBatches(2)], model=Mean(), data=DataBunch([batch])).fit(1)
    run = tiny_learner([MicroBatches()], model=Mean(), data=DataBunch([batch])).fit(1)
    assert run.n_steps == 1


def test_a_size_that_cannot_be_used():
    with pytest.raises(ValueError, match="size must be at least 1; got 0"):
        MicroBatches(0)
    assert repr(MicroBatches()) == "MicroBatches()"
    assert repr(MicroBatches(8)) == "MicroBatches(8)"


@pytest.mark.filterwarnings("ignore:batches are cut into micro-batches")
@pytest.mark.parametrize("at", ["forward", "backward"])
def test_buffers_do_not_depend_on_how_often_it_failed(at, monkeypatch):
    """A batch that was tried with 10 and 5 items ends as one that began with pieces of 3."""

    def statistics(first):
        model, batches = problem(3, at)
        model[1] = nn.BatchNorm1d(8).double()
        learner(model, batches, MicroBatches(first)).fit(1)
        return dict(model[1].named_buffers())

    found, expected = statistics(None), statistics(3)
    assert expected["num_batches_tracked"] == 4 * 4 + 2
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    monkeypatch.setattr(lehr.callbacks.loops.micro_batches, "_buffers", lambda module: [])
    assert not torch.equal(statistics(None)["running_mean"], expected["running_mean"])


@pytest.mark.filterwarnings("ignore:batches are cut into micro-batches")
def test_memory_that_runs_out_in_validation_takes_no_training_back():
    """Also after a training batch that was cancelled between its prediction and its gradient."""

    class Narrow(nn.Module):
        def __init__(self, room):
            super().__init__()
            self.room = room

        def forward(self, x):
            if not self.training and len(x) > self.room:
                raise torch.OutOfMemoryError("simulated")
            return x

    class Cancel(Callback):
        state = ()

        def after_loss(self, run):
            if run.training and run.last_batch:
                raise CancelBatch

    found = []
    for room in (3, 100):
        model, batches = problem()
        model[1], model[2] = nn.BatchNorm1d(8).double(), Narrow(room)
        micro = MicroBatches()
        learner(model, batches, micro, Cancel(), rehearsal=False).fit(1)
        assert micro.size == (3 if room == 3 else None)
        found.append(dict(model[1].named_buffers()))
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())

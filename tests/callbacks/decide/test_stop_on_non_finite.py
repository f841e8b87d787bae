"""StopOnNonFinite speaks before a bad loss has reached the weights."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from lehr import Callback, CancelEpoch
from lehr.callbacks import StopOnNonFinite
from lehr.engine import ALONE
from lehr.loop.step.graphs import Graphs
from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten, unflatten
from lehr.state.snapshot import capture, restore
from lehr.testing import tiny_learner

BAD = [float("nan"), float("inf"), -float("inf")]


class Spoil(Callback):
    """Makes the loss of one training batch bad."""

    layer = 5

    def __init__(self, at, value=float("nan")):
        self.at, self.value = at, value

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and (run.epoch, run.batch_index) == self.at:
            run.loss = run.loss * self.value


class Weights(Callback):
    """Keeps the weights as they are before each training batch."""

    def begin_fit(self, run):
        self.each = []

    def begin_batch(self, run):
        if run.training:
            self.each.append(run.model[0].weight.detach().clone())


@pytest.mark.parametrize("value", BAD)
def test_the_message_tells_where_and_the_weights_are_those_before(value):
    weights = Weights()
    learn = tiny_learner([weights, StopOnNonFinite(), Spoil((1, 2), value)])
    text = r"loss is -?(nan|inf) at step 6 \(epoch 1, batch 2\). Lower lr, or clip the gradients; "
    with pytest.raises(FloatingPointError, match=text + "run.history holds the last good steps"):
        learn.fit(3)
    assert torch.equal(learn.model[0].weight, weights.each[6])
    assert not torch.equal(weights.each[6], weights.each[5])
    assert learn.run.batch is not None
    assert len(learn.run.history["loss"]) == 6


def test_without_it_the_weights_are_spoilt():
    learn = tiny_learner([Spoil((1, 2))])
    learn.fit(3)
    assert learn.model[0].weight.isnan().any()


def test_stopping_quietly_discards_the_batch():
    weights = Weights()
    learn = tiny_learner([weights, StopOnNonFinite(action="stop"), Spoil((1, 2))])
    run = learn.fit(3)
    assert run.stop_reason.startswith("loss is nan at step 6 (epoch 1, batch 2). Lower lr")
    assert torch.equal(learn.model[0].weight, weights.each[6])
    assert run.n_steps == 6
    assert all(loss == loss for loss in run.history["loss"])


def test_an_open_window_is_discarded_with_it():
    class Accumulate(Callback):
        layer = 2
        batches_per_step = 2

        def begin_batch(self, run):
            run.closes = run.window.batches == 1

    weights = Weights()
    learn = tiny_learner([Accumulate(), weights, StopOnNonFinite(action="stop"), Spoil((0, 3))])
    run = learn.fit(3)
    assert (run.n_steps, run.epoch) == (1, 0)
    assert torch.equal(learn.model[0].weight, weights.each[3])
    assert learn.model[0].weight.grad is None


def test_validation_is_not_looked_at():
    class SpoilValidation(Callback):
        def compute_loss(self, run, proceed):
            proceed()
            if not run.training:
                run.loss = run.loss * float("nan")

    assert tiny_learner([StopOnNonFinite(), SpoilValidation()]).fit(2).stop_reason is None


def test_a_batch_without_weight_may_have_a_mean_over_nothing():
    class Empty(Callback):
        def begin_batch(self, run):
            if run.batch_index == 1:
                run.yb = torch.full_like(run.yb, -100)

    weight = lambda run: int((run.yb != -100).sum())  # noqa: E731
    run = tiny_learner([StopOnNonFinite(), Empty()], weight=weight).fit(1)
    assert run.stop_reason is None
    assert run.history["loss"][1] != run.history["loss"][1]


@pytest.mark.parametrize(
    ("at", "later", "step"),
    [((0, 1), 1, 1), ((0, 2), 0, 2), ((0, 3), 0, 3), ((1, 0), 2, 4)],
)
def test_every_n_batches_the_first_bad_one_is_named(at, later, step):
    learn = tiny_learner([StopOnNonFinite(every=3), Spoil(at)])
    with pytest.raises(FloatingPointError) as caught:
        learn.fit(3)
    text = str(caught.value)
    assert f"nan at step {step} (epoch {at[0]}, batch {at[1]})" in text
    found = {0: "loss is", 1: "found 1 batch later", 2: "found 2 batches later"}[later]
    assert found in text
    assert ("the weights may be spoilt" in text) is bool(later)


def test_the_rest_of_a_pass_that_was_cut_short_is_read_in_the_end():
    class Cut(Callback):
        def after_batch(self, run):
            if run.batch_index == 1:
                raise CancelEpoch

    with pytest.raises(FloatingPointError, match=r"step 0 \(epoch 0, batch 0\), found 1 batch"):
        tiny_learner([StopOnNonFinite(every=9), Spoil((0, 0)), Cut()]).fit(1)
    stop = StopOnNonFinite(every=9, action="stop")
    assert "loss was nan" in tiny_learner([stop, Spoil((0, 0)), Cut()]).fit(1).stop_reason
    assert "loss was nan" in tiny_learner([stop, Spoil((0, 0))]).fit(3).stop_reason
    assert tiny_learner([stop]).fit(3).stop_reason is None


@pytest.mark.parametrize(("every", "reads"), [(1, 600), (100, 6), (250, 2)])
def test_the_device_is_read_every_n_batches_and_not_in_between(monkeypatch, every, reads):
    seen = []

    class Count(Callback):
        phase = 1

        def begin_train(self, run):
            monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # on the CPU to read costs nothing
            for name in ("item", "__float__", "__bool__", "tolist", "cpu"):
                original = getattr(torch.Tensor, name)
                monkeypatch.setattr(
                    torch.Tensor,
                    name,
                    lambda t, *a, o=original, n=name: seen.append(n) or o(t, *a),
                )

        def after_train(self, run):
            monkeypatch.undo()

    learn = tiny_learner([StopOnNonFinite(every=every), Count()], items=600 * 8)
    learn.data.valid_dl = None
    learn.fit(1)
    assert seen == ["tolist"] * reads


def test_a_loss_that_is_no_number_is_refused_by_backward():
    def each(pred, yb):
        return cross_entropy(pred, yb, reduction="none")

    with pytest.raises(RuntimeError) as caught:
        tiny_learner([StopOnNonFinite()], loss_func=each, rehearsal=False).fit(1)
    assert "it must be one number" in "".join(caught.value.__notes__)


def test_wrong_arguments_speak():
    with pytest.raises(ValueError, match=r'action must be "raise" or "stop"; got \'warn\'. Choose'):
        StopOnNonFinite(action="warn")
    with pytest.raises(ValueError, match="every must be at least 1; got 0"):
        StopOnNonFinite(every=0)


def test_a_fused_step_is_read_about_later():
    learn = tiny_learner([StopOnNonFinite(every=3)])
    learn.graphs = Graphs("eager")

    class Spoils(Callback):
        def begin_batch(self, run):
            run.xb = run.xb / (run.n_iter != 2)

    with pytest.raises(
        FloatingPointError, match=r"loss is nan at step 2 .*Weights 0\.weight, .* are spoilt"
    ):
        learn.fit(2, callbacks=[Spoils()])


def test_it_prints_as_it_was_written():
    assert repr(StopOnNonFinite(every=2)) == "StopOnNonFinite(every=2, action='raise')"


@pytest.mark.parametrize("stop", range(1, 8))
def test_what_was_not_read_yet_is_read_by_the_run_that_goes_on(stop):
    def feed(callback, batches):
        for batch in batches:
            run.n_steps = run.batch_index = batch
            run.loss = torch.tensor(float("nan") if batch == 1 else 0.5)
            callback.after_loss(run)

    run = SimpleNamespace(training=True, weight=8, epoch=0, in_batch=True, engine=ALONE)
    run.replay = lambda step: SimpleNamespace(origin="")
    run.history = SimpleNamespace(meta={}, before_kept=[])
    run.defer = lambda undo: None
    first, second = StopOnNonFinite(every=8), StopOnNonFinite(every=8)
    for callback in (first, second):
        callback.begin_fit(run)
    feed(first, range(stop))
    state = capture({"it": first})
    restore({"it": second}, unflatten(*flatten(state)))
    assert first_difference(state, capture({"it": second})) is None
    text = r"loss was nan at step 1 \(epoch 0, batch 1\), found 6 batches later"
    with pytest.raises(FloatingPointError, match=text):
        feed(second, range(stop, 8))
    second.begin_fit(run)
    if stop > 1:
        feed(second, range(stop, 8))  # without the state nobody would know

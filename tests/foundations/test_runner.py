"""Rung 7: the one dispatcher that calls the callbacks, and the loop around it."""

from functools import partial

import pytest
import torch

from lehr.foundations import fit as plain_fit
from lehr.foundations import runner, train_batch
from lehr.foundations.losses import accuracy
from lehr.foundations.runner import (
    AvgStatsCallback,
    Callback,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    Runner,
    TrainEvalCallback,
)

TRAINED = ["begin_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"]
VALIDATED = ["begin_batch", "after_pred", "after_loss", "after_batch"]
WHOLE = ["begin_epoch", *TRAINED, "begin_validate", *VALIDATED, "after_epoch"]
EVENTS = ("begin_fit", "begin_epoch", *TRAINED, "begin_validate", "after_epoch", "after_fit")


class Trace(Callback):
    """Writes down every event; does ``action()`` at one of them and answers with what it gives."""

    def __init__(self, log, event=None, action=lambda: True):
        self.log, self.event, self.action = log, event, action


def _traced(event):
    def heard(self):
        self.log.append(event)
        return self.action() if event == self.event else None

    return heard


for _event in EVENTS:
    setattr(Trace, _event, _traced(_event))


def logged(learn, event=None, action=lambda: True, epochs=1):
    log = []
    Runner(Trace(log, event, action)).fit(epochs, learn)
    return log


def raises(error):
    def action():
        raise error

    return action


def weights(learn):
    return [p.detach().clone() for p in learn.model.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def quiet(*args):
    """Reports nothing."""


def test_a_new_event_needs_no_change_of_the_dispatcher(make_learner):
    """A callback fires an event of its own through the runner, and another that defines a method
    of that name hears it."""
    heard = []

    class Halfway(Callback):
        def after_batch(self):
            if self.n_iter == 2:
                self.run("at_half")

    class Listener(Callback):
        def at_half(self):
            heard.append(self.batch)

    Runner([Listener(), Halfway()]).fit(1, make_learner(4))
    assert 1 in heard
    with pytest.raises(ValueError, match="'at_half'"):
        Runner(Halfway()).fit(1, make_learner(4))


def test_the_loop_with_events_ends_where_the_plain_loop_does(make_learner):
    """Without other callbacks the runner's weights are, bit for bit, those of the plain loop."""
    plain, watched = make_learner(5), make_learner(5)
    plain_fit(2, plain, report=quiet)
    Runner(AvgStatsCallback(accuracy, report=quiet)).fit(2, watched)
    assert equal(weights(plain), weights(watched))
    skipping = make_learner(5)
    Runner(Trace([], "after_backward")).fit(2, skipping)
    assert not equal(weights(plain), weights(skipping))


class Ordered(Callback):
    def __init__(self, log, order, label=None):
        self.log, self._order, self.label = log, order, label or order

    def begin_fit(self):
        self.log.append(self.label)


def test_callbacks_are_called_by_ascending_order(make_learner):
    """Callbacks of order 99, 0, -1 and 1 run as -1, 0, 1, 99; with equal orders, as they were
    given."""
    log = []
    Runner([Ordered(log, order) for order in (99, 0, -1, 1)]).fit(0, make_learner())
    assert log == [-1, 0, 1, 99]
    log.clear()
    Runner([Ordered(log, 5, label) for label in "cab"]).fit(0, make_learner())
    assert log == ["c", "a", "b"]


def test_the_order_is_settled_once_per_fit(make_learner):
    """An order that is changed in the middle of a fit counts from the next fit on."""
    log = []

    class Jump(Callback):
        def __init__(self, label):
            self.label = label

        def begin_batch(self):
            log.append(self.label)
            self._order = -1 if self.label == "b" else 0

    run = Runner([Jump("a"), Jump("b")])
    run.fit(1, make_learner(2, 0))
    assert log == ["a", "b", "a", "b"]
    log.clear()
    run.fit(1, make_learner(2, 0))
    assert log == ["b", "a", "b", "a"]


def test_a_misspelt_event_is_reported():
    """Calling an event that neither the loop nor any callback knows is an error."""
    run = Runner()
    with pytest.raises(
        ValueError, match="event must be the loop's or a callback's; got 'after_los"
    ):
        run("after_losss")
    assert run("after_loss") is False


def test_none_goes_on_and_anything_true_skips():
    """A callback that returns nothing objects to nothing; any true answer does."""
    for answer, skips in ((None, False), (False, False), (True, True), ("enough", True)):
        run = Runner(Trace([], "begin_batch", lambda answer=answer: answer))
        assert run("begin_batch") is skips


def test_every_callback_hears_the_event_whatever_others_answer():
    """The second callback is called although the first answered True; a dispatcher that returns at
    the first true answer hides the event from it."""
    log = []
    cbs = [Trace([], "begin_batch"), Trace(log)]
    assert Runner(cbs)("begin_batch") is True
    assert log == ["begin_batch"]
    log.clear()
    assert any(cb.begin_batch() for cb in cbs)
    assert log == []


def test_an_event_is_never_mistaken_for_a_field_of_the_runner():
    """Only methods that a callback's class defines are events, not what it reads of the runner."""
    run = Runner(Callback())
    run.at_half = lambda: True  # type: ignore
    run.cbs[1].run = run
    assert run.cbs[1].at_half() is True
    with pytest.raises(ValueError, match="'at_half'"):
        run("at_half")


LEFT = {  # what is left of a fit of one epoch, one batch in each pass, after a true answer
    "begin_fit": [],
    "begin_epoch": ["begin_epoch", "begin_validate", *VALIDATED, "after_epoch"],
    "begin_batch": [
        *("begin_epoch", "begin_batch", "after_batch"),
        *("begin_validate", "begin_batch", "after_batch", "after_epoch"),
    ],
    "after_pred": [
        *("begin_epoch", "begin_batch", "after_pred", "after_batch"),
        *("begin_validate", "begin_batch", "after_pred", "after_batch", "after_epoch"),
    ],
    "after_loss": ["begin_epoch", *VALIDATED, "begin_validate", *VALIDATED, "after_epoch"],
    "after_backward": [
        *("begin_epoch", *TRAINED[:4], "after_batch", "begin_validate", *VALIDATED, "after_epoch")
    ],
    "after_step": WHOLE,
    "after_batch": WHOLE,
    "begin_validate": ["begin_epoch", *TRAINED, "begin_validate", "after_epoch"],
    "after_epoch": WHOLE,
    "after_fit": WHOLE,
}


@pytest.mark.parametrize("event", LEFT)
def test_a_true_answer_skips_what_follows_the_event(make_learner, event):
    """A true answer at an event skips exactly what follows it: the rest of the batch, a pass, the
    further epochs or all but `after_fit`; at `after_batch` and `after_fit`, nothing."""
    assert logged(make_learner(1, 1), event) == ["begin_fit", *LEFT[event], "after_fit"]


def test_a_true_answer_keeps_gradients_after_a_step_and_ends_the_fit_after_an_epoch(make_learner):
    """After a true answer at `after_step` the gradients stay, at `after_epoch` no epoch follows."""
    for event, kept in (("after_step", True), (None, False)):
        learn = make_learner(1, 1)
        logged(learn, event)
        assert all((p.grad is not None) is kept for p in learn.model.parameters())
    for event, epochs in (("after_epoch", 1), ("after_batch", 3)):
        assert logged(make_learner(), event, epochs=3).count("begin_epoch") == epochs


def test_skipping_at_after_backward_accumulates(make_learner):
    """A true answer after backward leaves the gradients in place: with one in every two batches the
    step is made with the sum of both, by this answer alone."""

    class EverySecond(Callback):
        def after_backward(self):
            return self.n_iter % 2 == 0

    by_hand, ours, stepping = make_learner(), make_learner(), make_learner()
    for xb, yb in by_hand.data.train_dl:
        by_hand.loss_func(by_hand.model(xb), yb).backward()
    by_hand.opt.step()
    Runner(EverySecond()).fit(1, ours)
    Runner().fit(1, stepping)
    assert equal(weights(ours), weights(by_hand))
    assert not equal(weights(stepping), weights(by_hand))


def test_three_cancels_end_the_batch_the_epoch_or_the_fit(make_learner):
    """Raised in the same event, each cancel ends just what it names, and the closing event of that
    is heard."""
    ended = {}
    for cancel in (CancelBatch, CancelEpoch, CancelFit):
        ended[cancel] = logged(make_learner(1, 1), "after_loss", raises(cancel()), epochs=2)
    begun = ["begin_epoch", "begin_batch", "after_pred", "after_loss"]
    batch = [*begun, "after_batch", "begin_validate", *VALIDATED, "after_epoch"]
    assert ended[CancelBatch] == ["begin_fit", *batch * 2, "after_fit"]
    assert ended[CancelEpoch] == ["begin_fit", *[*begun, "after_epoch"] * 2, "after_fit"]
    assert ended[CancelFit] == ["begin_fit", *begun, "after_fit"]


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_test_callback_ends_the_fit_after_exactly_ten_steps(make_learner, capsys, epochs):
    """It prints 1 to 10, and the weights are those of ten steps. A true answer at `after_step`
    in its place ends nothing: it leaves out the clearing of the gradients."""
    learn, ten = make_learner(98), make_learner(98)
    Runner(runner.TestCallback()).fit(epochs, learn)
    assert capsys.readouterr().out.split() == [str(i) for i in range(1, 11)]
    for _, (xb, yb) in zip(range(10), ten.data.train_dl, strict=False):
        train_batch(xb, yb, ten.model, ten.loss_func, ten.opt)
    assert equal(weights(learn), weights(ten))
    log = logged(make_learner(98), "after_step")
    assert log.count("after_step") == 98


def test_a_fit_fires_its_events_in_order(make_learner):
    """Two training batches and one validation batch fire these events, the prediction's and the
    batch's end among them."""
    assert logged(make_learner()) == [
        *("begin_fit", "begin_epoch", *TRAINED * 2),
        *("begin_validate", *VALIDATED, "after_epoch", "after_fit"),
    ]


def test_after_fit_is_called_after_an_error(make_learner):
    """When batch 3 raises, `after_fit` is called, the error reaches the caller with its own
    traceback, and the runner still holds the batch; its unfinished loss is not an older one."""
    log, learn = [], make_learner(5)

    def fails():
        if log.count("begin_batch") == 3:
            raise ArithmeticError("batch 3")

    run = Runner(Trace(log, "after_pred", fails))
    with pytest.raises(ArithmeticError, match="batch 3") as caught:
        run.fit(1, learn)
    assert caught.traceback[-1].name == "fails"
    assert log[-2:] == ["after_pred", "after_fit"]
    assert torch.equal(run.xb, list(learn.data.train_dl)[2][0])
    assert run.pred is not None
    assert run.loss is None


def test_an_error_in_the_model_leaves_the_batch_and_its_traceback(make_learner):
    """A wrong shape in the model surfaces where it arose, with the batch at hand in the runner, and
    `after_fit` is called."""
    log, learn = [], make_learner(6)
    batches = list(learn.data.train_dl)
    batches[4] = (torch.zeros(2, 7), batches[4][1][:2])
    learn.data.train_dl = batches
    run = Runner(Trace(log))
    with pytest.raises(RuntimeError, match="2x7") as caught:
        run.fit(1, learn)
    assert (run.batch, run.xb.shape, run.yb.shape) == (4, (2, 7), (2,))
    assert "module.py" in str(caught.traceback[-1].path)
    assert log[-1] == "after_fit"


def test_callbacks_and_factories_are_reachable_by_name(make_learner):
    """Factories are called and attached under the callback's name, and so are instances."""
    factory = partial(AvgStatsCallback, accuracy, report=quiet)
    for run in (Runner(cb_funcs=factory), Runner(cb_funcs=[factory]), Runner(factory())):
        run.fit(1, make_learner())
        assert len(run.avg_stats.valid_stats.avg_stats) == 2
        assert isinstance(run.train_eval, TrainEvalCallback)


def test_a_name_that_is_taken_stays_what_it_is(make_learner):
    """Of two callbacks of one name the first is meant, and none hides the runner's own methods."""

    class FitCallback(Callback):
        pass

    first, second = AvgStatsCallback(report=quiet), AvgStatsCallback(report=quiet)
    run = Runner([first, second, FitCallback()])
    run.fit(1, make_learner())
    assert run.avg_stats is first
    assert second.train_stats.count == first.train_stats.count == 8


def test_a_given_list_of_callbacks_is_left_alone():
    """A runner adds its own callback to a list of its own."""
    cbs = [Callback()]
    Runner(cbs)
    assert len(cbs) == 1

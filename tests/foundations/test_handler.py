"""Rung 6 beside the handler as it is usually written, whose "and" stops at the first objection."""

import pytest
import torch

from lehr.foundations import fit as plain_fit
from lehr.foundations import handler
from lehr.foundations.handler import Callback, CallbackHandler

EVENTS = ("begin_fit", "begin_epoch", "begin_batch", "after_loss", "after_backward", "after_step")
EVENTS += ("begin_validate", "after_epoch", "after_fit")
TRAINED = ["begin_batch", "after_loss", "after_backward", "step", "after_step", "zero_grad"]


class NaiveHandler(CallbackHandler):
    """Asks until the first objection, and reads the stop flag by clearing it."""

    def ask(self, event, *args):
        answer = {"after_loss": self.in_train, "after_fit": not self.in_train}.get(event, True)
        for cb in self.cbs:
            answer = answer and getattr(cb, event)(*args)
        return answer

    def do_stop(self):
        stop, self.learn.stop = self.learn.stop, False
        return stop


def naive_pass(dl, cb):
    learn = cb.learn
    for xb, yb in dl:
        if cb.ask("begin_batch", xb, yb):
            loss = learn.loss_func(learn.model(xb), yb)
            if cb.ask("after_loss", loss):
                loss.backward()
                if cb.ask("after_backward"):
                    learn.opt.step()
                if cb.ask("after_step"):
                    learn.opt.zero_grad()
        if cb.do_stop():
            return


def naive_fit(epochs, learn, cb):
    cb.learn, learn.stop, cb.in_train = learn, False, True
    if not cb.ask("begin_fit", learn):
        return
    for epoch in range(epochs):
        cb.in_train = True
        if not cb.ask("begin_epoch", epoch):
            continue
        naive_pass(learn.data.train_dl, cb)
        cb.in_train = False
        if cb.ask("begin_validate"):
            with torch.no_grad():
                naive_pass(learn.data.valid_dl, cb)
        if cb.do_stop() or not cb.ask("after_epoch"):
            break
    cb.ask("after_fit")


class Trace(Callback):
    """Writes down every event, and objects to some."""

    def __init__(self, log, *objects_to):
        self.log, self.objects_to = log, objects_to


def _traced(event):
    def heard(self, *args):
        getattr(Callback, event)(self, *args)
        self.log.append(event)
        return event not in self.objects_to

    return heard


for _event in EVENTS:
    setattr(Trace, _event, _traced(_event))


class LoggingOptimizer:
    """The optimizer, writing down what it is asked to do."""

    def __init__(self, opt, log):
        self.opt, self.log = opt, log

    def step(self):
        self.log.append("step")
        self.opt.step()

    def zero_grad(self):
        self.log.append("zero_grad")
        self.opt.zero_grad()


def logged(learn, *objects_to, epochs=1, naive=False):
    """Everything that happens in a fit, in order."""
    log = []
    learn.opt = LoggingOptimizer(learn.opt, log)
    trace = Trace(log, *objects_to)
    if naive:
        naive_fit(epochs, learn, NaiveHandler([trace]))
    else:
        handler.fit(epochs, learn, CallbackHandler([trace]))
    return log


def weights(learn):
    return [p.detach().clone() for p in learn.model.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_callback_that_does_nothing_changes_nothing(make_learner):
    """With a do-nothing callback the weights are, bit for bit, those of the loop without events."""
    plain, watched, untrained = make_learner(), make_learner(), make_learner()
    plain_fit(2, plain, report=lambda line: None)
    handler.fit(2, watched, CallbackHandler([Callback()]))
    assert equal(weights(plain), weights(watched))
    assert not equal(weights(plain), weights(untrained))
    hindered = make_learner()
    handler.fit(2, hindered, CallbackHandler([Trace([], "after_backward")]))
    assert not equal(weights(plain), weights(hindered))


WITHOUT = {  # what is left of an epoch of one batch in each pass, if somebody objects at an event
    "begin_fit": [],
    "begin_epoch": ["begin_epoch"],
    "begin_batch": ["begin_epoch", "begin_batch", "begin_validate", "begin_batch", "after_epoch"],
    "after_loss": [
        *("begin_epoch", "begin_batch", "after_loss"),
        *("begin_validate", "begin_batch", "after_loss", "after_epoch"),
    ],
    "after_backward": [
        *("begin_epoch", "begin_batch", "after_loss", "after_backward"),
        *("begin_validate", "begin_batch", "after_loss", "after_epoch"),
    ],
    "after_step": [
        *("begin_epoch", "begin_batch", "after_loss", "after_backward", "step", "after_step"),
        *("begin_validate", "begin_batch", "after_loss", "after_epoch"),
    ],
    "begin_validate": ["begin_epoch", *TRAINED, "begin_validate", "after_epoch"],
    "after_epoch": [
        *("begin_epoch", *TRAINED),
        *("begin_validate", "begin_batch", "after_loss", "after_epoch"),
    ],
}


@pytest.mark.parametrize("event", WITHOUT)
def test_false_skips_what_follows_the_event(make_learner, event):
    """False at an event skips exactly what follows it, for each of the events; `after_fit` is
    called in any case. The naive loop leaves `after_fit` out where training or the first epoch is
    refused, and steps over `after_backward` to `after_step` and clears the gradients there."""
    expected = ["begin_fit", *WITHOUT[event], "after_fit"]
    assert logged(make_learner(1, 1), event) == expected
    naive = logged(make_learner(1, 1), event, naive=True)
    if event in ("begin_fit", "begin_epoch"):
        assert naive == expected[:-1]
    elif event == "after_backward":
        assert naive[4:7] == ["after_backward", "after_step", "zero_grad"]
    else:  # it differs in one thing only: validation losses are heard by nobody
        deaf = [
            name
            for i, name in enumerate(expected)
            if name != "after_loss" or "begin_validate" not in expected[:i]
        ]
        assert naive == deaf


def test_an_objection_of_after_fit_has_no_effect(make_learner):
    """The fit is over when `after_fit` is called: False there changes nothing."""
    assert logged(make_learner(), "after_fit") == logged(make_learner())


def test_an_objection_skips_an_epoch_as_it_begins_and_ends_the_fit_after_it(make_learner):
    """False at `begin_epoch` goes on with the next epoch, False at `after_epoch` ends the fit."""
    assert logged(make_learner(), "begin_epoch", epochs=3).count("begin_epoch") == 3
    assert logged(make_learner(), "after_epoch", epochs=3).count("begin_epoch") == 1


def test_false_at_after_backward_accumulates(make_learner):
    """Two batches of which the first objects after backward make one step with the sum of their
    gradients. The naive loop clears the first batch's gradient although nothing was stepped."""

    class EverySecond(Callback):
        def begin_fit(self, learn):
            self.batches = 0
            return super().begin_fit(learn)

        def after_backward(self):
            self.batches += 1
            return self.batches % 2 == 0

    by_hand, ours, naive = make_learner(), make_learner(), make_learner()
    for xb, yb in by_hand.data.train_dl:
        by_hand.loss_func(by_hand.model(xb), yb).backward()
    by_hand.opt.step()
    handler.fit(1, ours, CallbackHandler([EverySecond()]))
    naive_fit(1, naive, NaiveHandler([EverySecond()]))
    assert equal(weights(ours), weights(by_hand))
    assert not equal(weights(naive), weights(by_hand))


def test_every_callback_is_asked_even_after_an_objection(make_learner):
    """The second callback hears an event to which the first objects. With a short-circuit "and" it
    does not."""
    heard = {}
    for kind, run in ((CallbackHandler, handler.fit), (NaiveHandler, naive_fit)):
        heard[kind] = []
        run(1, make_learner(), kind([Trace([], "begin_batch"), Trace(heard[kind])]))
    assert heard[CallbackHandler].count("begin_batch") == 3
    assert heard[NaiveHandler].count("begin_batch") == 0


@pytest.mark.parametrize("objecting", [(True, False), (False, True)])
def test_one_objection_is_enough(make_learner, objecting):
    """Answers are combined with "and": whoever objects, first or last, the batch is skipped."""
    learn = make_learner()
    before = weights(learn)
    cbs = [Trace([], *["begin_batch"] * objects) for objects in objecting]
    handler.fit(1, learn, CallbackHandler(cbs))
    assert equal(weights(learn), before)


def test_a_forgotten_answer_is_an_error_that_says_so(make_learner):
    """An event that returns nothing is refused with a message. Naively None counts as an objection:
    no step is made while the gradients are cleared after each of 98 batches."""

    class Forgetful(Callback):
        def after_backward(self):
            pass

    with pytest.raises(TypeError, match=r"Forgetful.after_backward must answer True or False; got"):
        handler.fit(1, make_learner(), CallbackHandler([Callback(), Forgetful()]))
    learn, log = make_learner(98), []
    learn.opt = LoggingOptimizer(learn.opt, log)
    naive_fit(1, learn, NaiveHandler([Forgetful()]))
    assert (log.count("step"), log.count("zero_grad")) == (0, 98)


def test_the_model_trains_in_one_pass_and_is_evaluated_in_the_other(make_learner):
    """The model is in training mode in training batches, in evaluation mode in validation."""
    modes = []

    class Modes(Callback):
        def begin_batch(self, xb, yb):
            modes.append((self.learn.model.training, torch.is_grad_enabled()))
            return True

    handler.fit(2, make_learner(2, 1), CallbackHandler([Modes()]))
    assert modes == [(True, True), (True, True), (False, False)] * 2


def test_validation_losses_reach_the_callbacks(make_learner):
    """Of 98 training and 10 validation batches a callback hears 108 losses; where validation is
    made by objecting on the handler's side, it hears 98."""
    log = logged(make_learner(98, 10))
    assert log.count("after_loss") == 108
    assert log.count("step") == 98
    assert logged(make_learner(98, 10), naive=True).count("after_loss") == 98


def test_a_stop_ends_the_fit(make_learner):
    """With a stop after step 10, a fit of three epochs reports 1 to 10. Where reading the flag
    clears it, only the pass ends, and the same fit reports 1 to 12."""
    numbers, naive = [], []
    log = []
    cbs = [handler.TestCallback(report=numbers.append), Trace(log)]
    handler.fit(3, make_learner(98), CallbackHandler(cbs))
    assert numbers == list(range(1, 11))
    assert log[-2:] == ["after_step", "after_fit"]
    naive_fit(3, make_learner(98), NaiveHandler([handler.TestCallback(report=naive.append)]))
    assert naive == list(range(1, 13))


@pytest.mark.parametrize("event", ["begin_fit", "begin_epoch", "begin_validate", "after_epoch"])
def test_a_stop_is_heeded_wherever_it_is_asked_for(make_learner, event):
    """After a stop at any event no further batch is run and no further epoch begun."""

    class Stop(Trace):
        pass

    def stop(self, *args):
        answer = getattr(Trace, event)(self, *args)
        self.learn.stop = True
        return answer

    setattr(Stop, event, stop)
    log = []
    handler.fit(3, make_learner(), CallbackHandler([Stop(log)]))
    assert set(log[log.index(event) + 1 :]) <= {"begin_epoch", "after_fit"}
    assert log.count("begin_epoch") == (event != "begin_fit")
    assert log[-1] == "after_fit"


def test_a_stop_does_not_outlive_its_fit(make_learner):
    """A second fit of a stopped Learner trains again."""
    learn, numbers = make_learner(12), []
    for _ in range(2):
        handler.fit(1, learn, CallbackHandler([handler.TestCallback(report=numbers.append)]))
    assert numbers == [*range(1, 11)] * 2


def test_a_fit_fires_its_events_in_order(make_learner):
    """One epoch of two training batches and one validation batch fires these events."""
    batch = ["begin_batch", "after_loss", "after_backward", "after_step"]
    assert [name for name in logged(make_learner()) if name in EVENTS] == [
        *("begin_fit", "begin_epoch", *batch, *batch),
        *("begin_validate", "begin_batch", "after_loss", "after_epoch", "after_fit"),
    ]


def test_a_batch_is_the_five_steps(make_learner):
    """One training batch predicts, measures, takes gradients, steps and clears, in this order."""
    learn, log = make_learner(), []
    cb = CallbackHandler([Trace(log)])
    cb.learn, cb.in_train = learn, True
    learn.opt = LoggingOptimizer(learn.opt, log)
    handler.one_batch(*next(iter(learn.data.train_dl)), cb)
    assert log == TRAINED


def test_a_pass_runs_every_batch_until_it_is_stopped(make_learner):
    """A pass hands every batch of the loader on, and none after a stop."""
    learn, log = make_learner(5), []
    cb = CallbackHandler([Trace(log)])
    cb.learn, cb.in_train, learn.stop = learn, True, False
    handler.all_batches(learn.data.train_dl, cb)
    learn.stop = True
    handler.all_batches(learn.data.train_dl, cb)
    assert log.count("begin_batch") == 5


def test_no_epochs_is_no_training(make_learner):
    """A fit of no epochs begins and ends, and trains nothing."""
    assert logged(make_learner(), epochs=0) == ["begin_fit", "after_fit"]


def test_after_fit_is_called_after_an_error_and_the_batch_can_be_looked_at(make_learner):
    """An error in a batch goes on to the caller with its own traceback; `after_fit` is called, and
    the callback still holds the batch. The naive loop skips `after_fit`."""
    for naive in (False, True):
        learn, log = make_learner(5), []
        trace = Trace(log)
        loss_func = learn.loss_func

        def fails(pred, yb, log=log, loss_func=loss_func):
            if log.count("begin_batch") == 3:
                raise ArithmeticError("batch 3")
            return loss_func(pred, yb)

        learn.loss_func = fails
        with pytest.raises(ArithmeticError, match="batch 3") as caught:
            (naive_fit if naive else handler.fit)(
                1, learn, (NaiveHandler if naive else CallbackHandler)([trace])
            )
        assert caught.traceback[-1].name == "fails"
        assert torch.equal(trace.xb, list(learn.data.train_dl)[2][0])
        assert (log[-1] == "after_fit") is not naive


# The loop as it is usually written, with the nine methods -----------------------------------------


def usual_batch(xb, yb, cb):
    if not cb.begin_batch(xb, yb):
        return
    loss = cb.learn.loss_func(cb.learn.model(xb), yb)
    if not cb.after_loss(loss):
        return
    loss.backward()
    if cb.after_backward():
        cb.learn.opt.step()
    if cb.after_step():
        cb.learn.opt.zero_grad()


def usual_pass(dl, cb):
    for xb, yb in dl:
        usual_batch(xb, yb, cb)
        if cb.do_stop():
            return


def usual_fit(epochs, learn, cb):
    if not cb.begin_fit(learn):
        return
    for epoch in range(epochs):
        if not cb.begin_epoch(epoch):
            continue
        usual_pass(learn.data.train_dl, cb)
        if cb.begin_validate():
            with torch.no_grad():
                usual_pass(learn.data.valid_dl, cb)
        if cb.do_stop() or not cb.after_epoch():
            break
    cb.after_fit()


@pytest.mark.parametrize("cbs", [None, [], [Callback()]])
def test_the_nine_methods_drive_a_loop_that_is_written_with_them(make_learner, cbs):
    """A loop that calls the handler's methods, and does nothing else between them, ends with the
    weights of ours, bit for bit, whether there are callbacks or none."""
    ours, usual = make_learner(5, 2), make_learner(5, 2)
    handler.fit(2, ours, CallbackHandler(cbs))
    usual_fit(2, usual, CallbackHandler(cbs))
    assert equal(weights(ours), weights(usual))
    assert not equal(weights(ours), weights(make_learner()))


@pytest.mark.parametrize("loop", [handler.fit, usual_fit])
def test_both_loops_fire_the_same_events(make_learner, loop):
    log = []
    loop(1, make_learner(), CallbackHandler([Trace(log)]))
    assert log == [name for name in logged(make_learner()) if name in EVENTS]


def test_there_is_a_method_for_each_event_that_asks_every_callback(make_learner):
    """Each of the nine asks all callbacks, the second also after the first's objection, and
    answers whether all agreed."""
    arguments = {"begin_fit": 1, "begin_epoch": 1, "begin_batch": 2, "after_loss": 1}
    for event in EVENTS:
        log, learn = [], make_learner()
        for objecting, agreed in (([event], False), ([], True)):
            cb = CallbackHandler([Trace([], *objecting), Trace(log)])
            cb.begin_fit(learn)
            args = [learn] * arguments.get(event, 0)
            assert getattr(cb, event)(*args) is agreed
            assert log[-1] == event


def test_a_stop_ends_the_usual_loop_too(make_learner):
    """Where asking for the flag does not clear it, a stop in the usual loop ends the fit: no epoch
    begins after it, and the next fit trains again. Clearing it as it is read ends the pass only."""

    class Clearing(CallbackHandler):
        def do_stop(self):
            stop, self.learn.stop = self.learn.stop, False
            return stop

    for kind, numbers in ((CallbackHandler, range(1, 11)), (Clearing, range(1, 13))):
        heard, learn = [], make_learner(98)
        usual_fit(3, learn, kind([handler.TestCallback(report=heard.append)]))
        assert heard == [*numbers]
    learn, heard = make_learner(12), []
    for _ in range(2):
        usual_fit(3, learn, CallbackHandler([handler.TestCallback(report=heard.append)]))
    assert heard == [*range(1, 11)] * 2

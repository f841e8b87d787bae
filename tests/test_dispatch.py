"""Dispatch: what is refused when attached, who hears what in which order, and what errors say."""

import itertools
import re
from contextlib import contextmanager
from types import FunctionType

import pytest
import torch

from lehr import Callback
from lehr.callbacks import Metrics, ParamScheduler, Progress, Recorder
from lehr.dispatch import (
    Actions,
    Listeners,
    around,
    check,
    describe,
    fire,
    in_layers,
    in_phases,
    where,
)
from lehr.events import (
    ACTIONS,
    EVENTS,
    Cancel,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    Layer,
    Phase,
)
from lehr.schedules import constant
from lehr.testing import EventLog, tiny_learner


def watch(self, run):
    pass


def act(self, run, proceed):
    proceed()


def with_method(name, method=watch, **attributes):
    """A callback with one method."""
    return type("Mine", (Callback,), {name: method, **attributes})()


# check ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_may_be_watched(name):
    check(with_method(name))


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_may_be_wrapped(name):
    check(with_method(name, act))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("after_backwards", "after_backward"),
        ("after_los", "after_loss"),
        ("begin_validation", "begin_validate"),
        ("befin_fit", "begin_fit"),
        ("backwards", "backward"),
        ("compute_los", "compute_loss"),
        ("zero_grads", "zero_grad"),
        ("finish_grads", "finish_grad"),
        ("one_bacth", "one_batch"),
        ("around_fits", "around_fit"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_right_one(name, meant):
    expected = (
        f"Mine.{name} would never be called: it is no event or action. Did you mean {meant}? "
        "All of them are in lehr.events."
    )
    with pytest.raises(AttributeError, match=f"^{re.escape(expected)}$"):
        check(with_method(name))


@pytest.mark.parametrize(
    "name",
    ["on_epoch_end", "on_train_begin", "on_before_zero_grad", "on_batch_end"]
    + ["before_fit", "before_batch", "before_step", "after_create", "after_cancel_fit"],
)
def test_names_of_other_libraries_are_refused(name):
    match = rf"^Mine\.{name} would never be called: it is no event or action\. (Did|Use) .*"
    with pytest.raises(AttributeError, match=match + r" All of them are in lehr\.events\.$"):
        check(with_method(name))


def test_an_inherited_misspelling_is_refused_too():
    parent = type(with_method("after_batchs"))
    with pytest.raises(AttributeError, match=r"Child\.after_batchs .* Did you mean after_batch\?"):
        check(type("Child", (parent,), {})())


@pytest.mark.parametrize("name", ["backwards", "predictt", "update_step"])
def test_a_method_that_takes_proceed_must_be_an_action(name):
    with pytest.raises(AttributeError, match=rf"Mine.{name} would never be called.* (Did|Use) "):
        check(with_method(name, act))


@pytest.mark.parametrize(
    "name",
    ["stop", "steps", "log_batch", "show_batch", "plot_batch", "save_batch", "next_batch"]
    + ["compute_lr", "compute_norm", "predicted", "predictor"],
)
def test_helpers_that_take_the_run_are_no_misspelling(name):
    check(with_method(name))


def test_an_attribute_named_like_an_action_is_refused():
    callback = Callback()
    callback.step = 0
    with pytest.raises(TypeError, match=r"Callback.step is 0, but step is the name of an action"):
        check(callback)


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_static_and_class_methods_may_listen(kind):
    function = (lambda run: None) if kind is staticmethod else (lambda cls, run: None)
    check(with_method("after_loss", kind(function)))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("before_backward", "backward"),
        ("before_batch", "begin_batch"),
        ("on_batch_end", "after_batch"),
        ("on_fit_start", "begin_fit"),
        ("on_step", "after_step"),
    ],
)
def test_names_of_other_libraries_lead_to_ours(name, meant):
    with pytest.raises(AttributeError, match=rf"Did you mean {meant}\?"):
        check(with_method(name))


@pytest.mark.parametrize(
    "name",
    ["compute", "plot", "update", "reset", "close", "summary", "save", "load", "write", "losses"]
    + ["_after_los", "_backwards", "__len__", "plot_loss", "is_better", "predictions", "lr"],
)
def test_ordinary_methods_are_no_misspelling(name):
    check(with_method(name, lambda self: 0))


def test_attributes_that_cannot_be_called_are_no_methods():
    check(with_method("after_los", 3))
    check(with_method("on_device", "cpu"))


@pytest.mark.parametrize(
    ("name", "method", "called"),
    [
        ("after_loss", lambda self: None, r"\(self\); an event is called with (self, run)"),
        ("after_loss", act, r"(self, run, proceed); an event is called with (self, run)"),
        ("backward", watch, r"(self, run); an action is called with (self, run, proceed)"),
        ("step", lambda self, run, proceed, more: None, "called with (self, run, proceed)"),
        ("around_fit", lambda self: None, "called with (self, run)"),
    ],
)
def test_a_method_that_would_be_called_wrongly_is_refused(name, method, called):
    arguments = "self, run, proceed" if name in ACTIONS else "self, run"
    with pytest.raises(TypeError) as raised:
        check(with_method(name, method))
    text = str(raised.value)
    assert text.startswith(f"Mine.{name} has the signature (self")
    assert called.replace("\\", "") in text
    assert text.endswith(f"Write def {name}({arguments}).")
    assert isinstance(raised.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("after_loss", lambda self, run, more=None: None),
        ("after_loss", lambda self, *args, **kwargs: None),
        ("backward", lambda self, run, go_on, *, twice=False: None),
        ("around_fit", contextmanager(lambda self, run: (yield))),
    ],
)
def test_a_method_that_can_be_called_may_have_any_other_form(name, method):
    check(with_method(name, method))


def test_a_class_instead_of_an_instance_is_refused():
    match = r"^callbacks must be instances of lehr\.Callback; got <class .*EventLog'>\. Write "
    with pytest.raises(TypeError, match=match + r"EventLog\(\), or take it out\.$"):
        check(EventLog)


@pytest.mark.parametrize("thing", [None, "recorder", 3, watch])
def test_what_is_no_callback_is_refused(thing):
    match = rf"^callbacks must be .*; got {re.escape(repr(thing))}\. Inherit from it, or take it "
    with pytest.raises(TypeError, match=match):
        check(thing)


def test_the_learner_checks_what_is_attached_to_it_and_to_a_fit():
    with pytest.raises(AttributeError, match="after_los would never be called"):
        tiny_learner([with_method("after_los")])
    with pytest.raises(AttributeError, match="after_los would never be called"):
        tiny_learner().fit(1, callbacks=[with_method("after_los")])


# Order ------------------------------------------------------------------------------------------


def shipped():
    return [Recorder(), Metrics([]), Progress("plain"), ParamScheduler("lr", constant(0.1))]


def kinds(callbacks):
    return [type(callback).__name__ for callback in callbacks]


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_the_order_of_shipped_callbacks_does_not_depend_on_the_list(order):
    orders = {tuple(kinds(order(some))) for some in itertools.permutations(shipped())}
    assert len(orders) == 1


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_list_order_decides_among_a_users_own(order):
    own = [type(name, (Callback,), {})() for name in ("Zebra", "Ant", "Mole")]
    for some in itertools.permutations(own):
        assert order(some) == list(some)


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_a_users_own_come_after_the_shipped_ones_of_their_phase(order):
    own = [type(name, (Callback,), {})() for name in ("B", "A")]
    for some in itertools.permutations([*own, Recorder(), Metrics([])]):
        names = kinds(order(some))
        assert names[:2] == ["Metrics", "Recorder"]
        assert names[2:] == [name for name in kinds(some) if name in "AB"]


def test_a_users_subclass_of_a_shipped_callback_is_the_users_own():
    mine = type("AMine", (Recorder,), {"__module__": "mine"})()
    assert in_phases([mine, Recorder()])[1] is mine


def test_phases_order_watching_and_layers_acting():
    def make(i):
        phase, layer = Phase(i), Layer(5 - i)
        return type(f"P{i}", (Callback,), {"phase": phase, "layer": layer})()

    callbacks = [make(i) for i in (3, 1, 4, 2)]
    assert kinds(in_phases(callbacks)) == ["P1", "P2", "P3", "P4"]
    assert kinds(in_layers(callbacks)) == ["P4", "P3", "P2", "P1"]


def test_a_phase_outweighs_who_wrote_the_callback():
    early = type("Early", (Callback,), {"phase": Phase.PREPARE})()
    assert in_phases([Recorder(), early])[0] is early


# The tables -------------------------------------------------------------------------------------


def test_each_event_has_the_methods_that_hear_it_and_silence_is_empty():
    a, b = with_method("after_loss"), with_method("after_loss", phase=Phase.PREPARE)
    listeners = Listeners([a, b])
    assert listeners.after_loss == (b.after_loss, a.after_loss)
    assert all(getattr(listeners, event) == () for event in EVENTS if event != "after_loss")


def test_an_action_that_nobody_wraps_is_the_verb_itself():
    verbs = {action: object() for action in ACTIONS}
    actions = Actions([with_method("after_loss")], None, verbs)
    assert all(getattr(actions, action) is verbs[action] for action in ACTIONS)


def wrapper(name, log, layer=Layer.TRANSFORM, times=1):
    def step(self, run, proceed):
        log.append(f"{name} in")
        for _ in range(times):
            proceed()
        log.append(f"{name} out")

    return type(name, (Callback,), {"step": step, "layer": layer})()


@pytest.mark.parametrize("times", [0, 1, 2])
def test_wrappers_stand_around_the_verb_outermost_first(times):
    log = []
    callbacks = [wrapper("inner", log, Layer.CLIP, times), wrapper("outer", log, Layer.WINDOW)]
    verbs = {action: lambda: log.append("verb") for action in ACTIONS}
    Actions(callbacks, None, verbs).step()
    assert log == ["outer in", "inner in", *["verb"] * times, "inner out", "outer out"]


def test_wrappers_are_given_the_run():
    seen = []
    callback = with_method("predict", lambda self, run, proceed: seen.append(run))
    Actions([callback], "the run", dict.fromkeys(ACTIONS, print)).predict()
    assert seen == ["the run"]


# fire -------------------------------------------------------------------------------------------


def raising(error, log):
    def listener(run):
        log.append(error)
        if error is not None:
            raise error

    return listener


@pytest.mark.parametrize(
    ("cancels", "winner"),
    [
        ([CancelBatch("a"), None], 0),
        ([CancelBatch("a"), CancelFit("b"), CancelEpoch("c"), None], 1),
        ([CancelEpoch("a"), CancelEpoch("b")], 0),
        ([None, CancelEpoch("a"), CancelBatch("b")], 1),
    ],
)
def test_every_listener_hears_an_event_and_then_the_widest_cancel_is_raised(cancels, winner):
    log = []
    with pytest.raises(Cancel) as raised:
        fire([raising(cancel, log) for cancel in cancels], None)
    assert raised.value is cancels[winner]
    assert log == cancels


def test_an_event_without_cancels_raises_nothing_and_hands_over_the_run():
    log = []
    fire([log.append, log.append], "the run")
    assert log == ["the run"] * 2
    fire((), None)


def test_an_error_is_raised_at_once():
    log = []
    with pytest.raises(ZeroDivisionError):
        fire([raising(CancelFit(), log), raising(ZeroDivisionError(), log), log.append], None)
    assert len(log) == 2


# around -----------------------------------------------------------------------------------------


def surrounding(name, log, *, swallow=False, phase=Phase.MEASURE):
    @contextmanager
    def around_fit(self, run):
        log.append(f"{name} opens")
        try:
            yield
        except Exception:
            if not swallow:
                raise
        log.append(f"{name} closes")

    return type(name, (Callback,), {"around_fit": around_fit, "phase": phase})()


def test_fits_are_surrounded_in_phase_order():
    log = []
    callbacks = [surrounding("b", log), surrounding("a", log, phase=Phase.PREPARE), EventLog()]
    with around(callbacks, None):
        log.append("fit")
    assert log == ["a opens", "b opens", "fit", "b closes", "a closes"]


def test_no_surrounding_can_swallow_an_error():
    log, error = [], ZeroDivisionError()
    with (
        pytest.raises(ZeroDivisionError) as raised,
        around([surrounding("a", log, swallow=True)], 0),
    ):
        raise error
    assert raised.value is error
    assert log == ["a opens", "a closes"]


# What errors say --------------------------------------------------------------------------------


def notes(raised):
    return "\n".join(raised.value.__notes__)


def named(function, name):
    """The function as if it had been written with that name."""
    code = function.__code__.replace(co_name=name)
    return FunctionType(code, globals(), name, closure=function.__closure__)


def broken(name):
    """A callback whose method fails."""

    def fail(self, run, *proceed):
        raise ZeroDivisionError("mine")

    return type("Broken", (Callback,), {name: named(fail, name)})()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("begin_fit", "Broken.begin_fit"),
        ("begin_batch", "Broken.begin_batch"),
        ("after_epoch", "Broken.after_epoch"),
        ("predict", "Broken.predict"),
        ("step", "Broken.step"),
    ],
)
def test_an_error_names_callback_and_event_or_action(name, place):
    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        tiny_learner([broken(name)]).fit(1)
    assert notes(raised).startswith(f"In {place}, epoch 0, training batch ")


def test_an_error_below_wrappers_names_the_whole_chain():
    outer = with_method("compute_loss", named(act, "compute_loss"), layer=Layer.WINDOW)
    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([broken("compute_loss"), outer]).fit(1)
    assert notes(raised).startswith("In Mine.compute_loss > Broken.compute_loss, epoch 0, ")


def test_an_error_of_the_loss_names_the_action_the_batch_and_the_hint():
    learn = tiny_learner(loss_func=lambda pred, yb: torch.nn.functional.cross_entropy(pred, yb + 1))
    with pytest.raises(IndexError) as raised:
        learn.fit(1)
    text = notes(raised)
    assert text.startswith("In compute_loss, epoch 0, training batch 0. xb: (8, 3) float32 cpu; yb")
    assert text.endswith("pred: (8, 2) float32 cpu.")
    learn = tiny_learner(loss_func=lambda pred, yb: pred.detach().sum())
    with pytest.raises(RuntimeError) as raised:
        learn.fit(1)
    assert "In backward, " in notes(raised)
    assert "loss_func returned a tensor without a graph" in notes(raised)


def test_an_error_that_has_nothing_to_do_with_the_batch_gets_no_hint():
    learn = tiny_learner([broken("after_batch")])
    with pytest.raises(ZeroDivisionError) as raised:
        learn.fit(1)
    assert len(raised.value.__notes__) == 1


def test_where_no_callback_and_no_action_is_at_work_it_is_the_loop():
    with pytest.raises(ZeroDivisionError) as raised:
        1 / 0
    assert where(raised.tb, None) == "the loop"


@pytest.mark.parametrize(
    ("name", "kind", "why", "do"),
    [
        ("begin_fit", CancelBatch, "no batch is running", "Raise it inside a batch, or raise "),
        ("begin_epoch", CancelBatch, "no batch is running", "Raise it inside a batch, or raise "),
        ("begin_fit", CancelEpoch, "no epoch is running", "or raise CancelFit here"),
        ("after_fit", CancelFit, "the fit is over", "Take it out; run.stop"),
        ("after_fit", CancelBatch, "the fit is over", "Take it out; run.stop"),
    ],
)
def test_a_cancel_where_it_has_no_meaning_is_an_error_that_says_so(name, kind, why, do):
    def cancel(self, run):
        raise kind("enough")

    with pytest.raises(RuntimeError) as raised:
        tiny_learner([with_method(name, named(cancel, name))]).fit(1)
    text = str(raised.value)
    assert text.startswith(f"{kind.__name__} was raised in Mine.{name}, where {why}: it has no ")
    assert do in text
    assert isinstance(raised.value.__cause__, kind)


# describe ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 3), "(2, 3) float32 cpu"),
        (torch.zeros((), dtype=torch.int64, device="meta"), "() int64 meta"),
        ({"ids": torch.zeros(2).bool(), "n": 4}, "{ids: (2,) bool cpu, n: int}"),
        ((torch.zeros(1), None), "[(1,) float32 cpu, None]"),
        ([1, 2, 3, 4], "[int, int, int, int]"),
        ([1, 2, 3, 4, 5], "[int, int, int, int, …]"),
        ([["a"]], "[[str]]"),
        (None, "None"),
        ({}, "{}"),
    ],
)
def test_a_batch_is_described_by_its_shapes(value, text):
    assert describe(value) == text

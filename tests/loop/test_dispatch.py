"""Events become tuples, actions one callable."""

from contextlib import AbstractContextManager, contextmanager

import pytest

from lehr import Callback
from lehr.events import ACTIONS, EVENTS, Cancel, CancelBatch, CancelEpoch, CancelFit, Layer, Phase
from lehr.loop.dispatch import Actions, Listeners, around, fire
from lehr.testing import EventLog, tiny_learner


def watch(self, run):
    pass


def act(self, run, proceed):
    proceed()


def with_method(name, method=watch, **attributes):
    """A callback with one method."""
    return type("Mine", (Callback,), {name: method, **attributes})()


# The tables -------------------------------------------------------------------------------------


def test_each_event_has_the_methods_that_hear_it_and_silence_is_empty():
    a, b = with_method("after_loss"), with_method("after_loss", phase=Phase.PREPARE)
    listeners = Listeners([a, b])
    assert listeners.after_loss == (b.after_loss, a.after_loss)
    assert all(getattr(listeners, event) == () for event in EVENTS if event != "after_loss")


def test_an_action_that_nobody_wraps_is_the_verb_itself():
    own = {action: object() for action in ACTIONS}
    actions = Actions([with_method("after_loss")], None, own)
    assert all(getattr(actions, action) is own[action] for action in ACTIONS)


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
    own = {action: lambda: log.append("loop") for action in ACTIONS}
    Actions(callbacks, None, own).step()
    assert log == ["outer in", "inner in", *["loop"] * times, "inner out", "outer out"]


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


def test_a_listener_that_returns_something_is_an_error():
    class FirstHandler(Callback):
        def begin_epoch(self, run):
            return False

    match = r"FirstHandler\.begin_epoch returned a value.*CancelBatch.*proceed"
    with pytest.raises(TypeError, match=match) as raised:
        tiny_learner([FirstHandler()]).fit(1)
    assert raised.value.__notes__[0].startswith("In FirstHandler.begin_epoch, epoch 0")


def test_an_action_that_returns_something_is_an_error():
    class Returns(Callback):
        def predict(self, run, proceed):
            proceed()
            return run.pred

    match = (
        r"Returns\.predict returned a value, which the loop does not use: an action returns "
        r"nothing\. Write what it makes to the run, e\.g\. run\.pred in predict"
    )
    with pytest.raises(TypeError, match=match):
        tiny_learner([Returns()]).fit(1)


def test_an_action_may_return_what_proceed_returns():
    class Wraps(Callback):
        def predict(self, run, proceed):
            return proceed()

    assert tiny_learner([Wraps(), Wraps()]).fit(1).n_steps == 4


def test_an_action_that_nobody_wraps_is_the_step_itself():
    step = object()
    assert Actions([Callback()], None, dict.fromkeys(ACTIONS, step)).step is step


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


def test_an_around_fit_that_returns_no_context_manager_is_refused_by_name():
    class Forgets(Callback):
        def around_fit(self, run):
            pass

    match = r"^Forgets\.around_fit must return a context manager; got None\. Write @contextlib\."
    with pytest.raises(TypeError, match=match), around([Forgets()], None):
        raise AssertionError("it was opened")


def test_no_surrounding_can_swallow_an_error():
    log, error = [], ZeroDivisionError()
    with (
        pytest.raises(ZeroDivisionError) as raised,
        around([surrounding("a", log, swallow=True)], 0),
    ):
        raise error
    assert raised.value is error
    assert log == ["a opens", "a closes"]


def failing(name, seen):
    @contextmanager
    def around_fit(self, run):
        try:
            yield
        except BaseException as error:
            seen.append((name, repr(error)))
            raise KeyError(name) from None
        raise KeyError(name)

    return type(name, (Callback,), {"around_fit": around_fit})()


def test_the_last_of_several_errors_is_raised_and_each_has_the_one_before_as_its_context():
    seen = []
    with (
        pytest.raises(KeyError, match="a") as caught,
        around([failing("a", seen), failing("b", seen)], None),
    ):
        raise ZeroDivisionError("body")
    assert seen == [("b", "ZeroDivisionError('body')"), ("a", "KeyError('b')")]
    assert repr(caught.value.__context__) == "KeyError('b')"
    assert repr(caught.value.__context__.__context__) == "ZeroDivisionError('body')"


def test_what_a_class_raises_on_leaving_has_the_error_before_as_its_context():
    class Leaves:
        def around_fit(self, run):
            return self

        def __enter__(self): ...

        def __exit__(self, *exc):
            raise KeyError("class")

    scope = type("Scope", (Leaves, AbstractContextManager), {})
    outer = type("Outer", (Callback,), {"around_fit": lambda self, run: scope()})()
    with pytest.raises(KeyError, match="class") as caught, around([outer, failing("b", [])], None):
        raise ZeroDivisionError("body")
    assert repr(caught.value.__context__) == "KeyError('b')"


def test_those_that_are_open_are_left_where_a_later_one_cannot_be_entered():
    class Refuses(Callback):
        @contextmanager
        def around_fit(self, run):
            raise ZeroDivisionError("not today")
            yield

    log = []
    with (
        pytest.raises(ZeroDivisionError, match="not today"),
        around([surrounding("a", log, swallow=True), Refuses()], None),
    ):
        raise AssertionError("it was opened")
    assert log == ["a opens", "a closes"]

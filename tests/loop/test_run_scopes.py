"""However a run ends, nothing keeps it alive: on every Python, without the garbage collector."""

import gc
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import pytest

from lehr import Callback, CancelBatch, CancelEpoch, CancelFit
from lehr.testing import tiny_learner


class At(Callback):
    """Calls ``act`` with the run: once, at the third loss."""

    evaluates = True

    def __init__(self, act: Callable) -> None:
        self.act, self.losses = act, 0

    def begin_fit(self, run):
        self.losses = 0

    def after_loss(self, run):
        self.losses += 1
        if self.losses == 3:
            self.act(run)


class InTheStep(At):
    def after_loss(self, run): ...

    def predict(self, run, proceed):
        proceed()
        super().after_loss(run)


class AtTheEnd(At):
    def after_loss(self, run): ...

    def after_fit(self, run):
        self.act(run)


class AtTheBeginning(At):
    def after_loss(self, run): ...

    def begin_fit(self, run):
        self.act(run)


def throws(error: type[BaseException]) -> Callable:
    def throw(run):
        raise error("enough")

    return throw


def interrupt(run) -> None:
    signal.raise_signal(signal.SIGINT)


def cancel_with_a_clean_up_that_fails(run) -> None:
    run.defer(lambda: 1 / 0)
    raise CancelFit


class Around(At):
    """Fails where an `around_fit` is left, be it in the place of another error."""

    def after_loss(self, run): ...

    def __init__(self, error: type[BaseException] | None) -> None:
        super().__init__(throws(error) if error else lambda run: None)

    def predict(self, run, proceed):
        proceed()
        self.act(run)

    @contextmanager
    def around_fit(self, run):
        try:
            yield
        finally:
            raise ZeroDivisionError


class AroundByAClass(Around):
    def around_fit(self, run):
        return Fails()


class Fails(AbstractContextManager):
    def __exit__(self, *exc):
        raise ZeroDivisionError


def fail_at_the_end_of_the_fit(run) -> None:
    run.defer(lambda: 1 / 0)


ENDINGS = {
    "success": lambda: At(lambda run: None),
    "stop": lambda: At(lambda run: run.stop("enough")),
    "Ctrl-C": lambda: At(interrupt),
    **{
        f"{error.__name__} in {place.__name__}": lambda error=error, place=place: place(
            throws(error)
        )
        for error in (CancelBatch, CancelEpoch, CancelFit, ValueError, KeyboardInterrupt)
        for place in (At, InTheStep, AtTheBeginning, AtTheEnd)
    },
    "a clean-up that fails": lambda: At(cancel_with_a_clean_up_that_fails),
    "a clean-up of the fit that fails": lambda: AtTheBeginning(fail_at_the_end_of_the_fit),
    **{
        f"{kind.__name__} after {error and error.__name__}": lambda kind=kind, error=error: kind(
            error
        )
        for kind in (Around, AroundByAClass)
        for error in (None, ValueError, CancelFit, KeyboardInterrupt)
    },
}
CALLS = {
    "fit": lambda learn, callback: learn.fit(2, callbacks=[callback]),
    "fit, attached": lambda learn, callback: learn.callbacks.append(callback) or learn.fit(2),
    "validate": lambda learn, callback: learn.validate(callbacks=[callback]),
    "rehearse": lambda learn, callback: learn.rehearse(4, callbacks=[callback]),
}


@pytest.fixture(autouse=True, scope="module")
def _no_collector() -> Iterator[None]:
    for call in CALLS.values():  # what is imported at its first use holds on to frames
        call(tiny_learner(), Callback())
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_learner_dies_with_its_last_name(ending, call):
    learn = tiny_learner(items=64)
    with suppress(Exception, KeyboardInterrupt):
        call(learn, ending())
    run, dead = learn.run, weakref.ref(learn)
    del learn
    assert dead() is None
    if run is not None:
        with pytest.raises(ReferenceError, match=r"run.learn is gone.*Keep a name for it"):
            _ = run.learn
        dead = weakref.ref(run)
        del run
        assert dead() is None


def test_a_learner_outlives_its_last_name_where_somebody_keeps_the_error():
    learn = tiny_learner([At(throws(ValueError))])
    with pytest.raises(ValueError, match="enough") as caught:
        learn.fit(1)
    dead = weakref.ref(learn)
    del learn
    assert dead() is not None
    del caught
    assert dead() is None

"""Whatever line a Ctrl-C comes at, nothing is lost: modes, hooks, lr, random state, all entries."""

import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

import lehr
from lehr import Callback
from lehr.callbacks import ParamScheduler
from lehr.schedules import sched_lin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.state.streams import rng_state
from lehr.testing import tiny_learner

OURS = (str(Path(lehr.__file__).parent), "contextlib.py")


@pytest.fixture(autouse=True)
def _handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Pressing:
    """Presses Ctrl-C when so many lines of ours, or of a context manager's, have been run."""

    def __init__(self, *moments):
        self.moments, self.seen, self.at, self.armed = moments, 0, None, True
        self.first, self.last = {}, {}  # of each line: when it was run

    def trace(self, frame, event, arg):
        name = frame.f_code.co_filename
        if not (name.startswith(OURS[0]) or name.endswith(OURS[1])):
            return None
        if event == "line" and self.armed:
            self.seen += 1
            place = f"{Path(name).name}:{frame.f_lineno}"
            self.first.setdefault(place, self.seen)
            self.last[place] = self.seen
            if self.seen in self.moments:
                self.at = place
                signal.raise_signal(signal.SIGINT)
        return self.trace

    @contextmanager
    def on(self):
        before = sys.gettrace()
        try:
            yield self
        finally:
            sys.settrace(before)

    def start(self):
        sys.settrace(self.trace)


class Hooked(Callback):
    """Puts a hook on the model, as a fit's clean-ups and contexts do."""

    evaluates = True

    def begin_fit(self, run):
        run.defer(run.model[0].register_forward_hook(lambda *args: None).remove)

    @contextmanager
    def around_fit(self, run):
        handle = run.model[2].register_forward_hook(lambda *args: None)
        try:
            yield
        finally:
            handle.remove()


def learner():
    learn = tiny_learner([Hooked()], items=8)
    learn.opt.param_groups[0]["momentum"] = 0.5
    learn.model[1].eval()
    return learn


def surroundings(learn):
    """What a fit must leave as it was, however it ended."""
    return {
        "lr": learn.opt.param_groups[0]["lr"],
        "modes": [module.training for module in learn.model.modules()],
        "hooks": [len(module._forward_hooks) for module in learn.model.modules()],
        "random": rng_state(),
        "grad_mode": torch.is_grad_enabled(),
        "handler": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "callbacks": len(learn.callbacks),
    }


def everything(learn):
    return {**surroundings(learn), **capture(learn.state_entries())}


def enter_and_leave(learn, pressing):
    pressing.start()
    with learn.probe():
        sys.settrace(None)
        learn.fit(1)
        pressing.start()
    sys.settrace(None)


class Presses(Callback):
    """Presses Ctrl-C once, in the first batch; the lines after it are looked at."""

    evaluates, state = True, ()

    def __init__(self, pressing):
        self.pressing = pressing

    def begin_batch(self, run):
        if not self.pressing.armed:
            signal.raise_signal(signal.SIGINT)
            self.pressing.armed = True


def fit(learn, pressing):
    pressing.armed = False
    pressing.start()
    learn.fit(1, [Presses(pressing), ParamScheduler("lr", sched_lin(0.3, 0.1))])


def find_lr(learn, pressing):
    pressing.armed = False
    learn.callbacks.append(Presses(pressing))
    try:
        pressing.start()
        learn.find_lr(steps=10)
    finally:
        sys.settrace(None)
        learn.callbacks.pop()


def rehearse(learn, pressing):
    pressing.armed = False
    pressing.start()
    learn.rehearse(10, [Presses(pressing), ParamScheduler("lr", sched_lin(0.3, 0.1))])


def moments(work, look):
    """When each line is run first, and when last."""
    learn, pressing = learner(), Pressing()
    before = look(learn)
    with suppress(KeyboardInterrupt), pressing.on():
        work(learn, pressing)
    assert first_difference(before, look(learn)) is None
    return sorted({*pressing.first.values(), *pressing.last.values()})


def lost(work, look, *when):
    """What is lost if Ctrl-C is pressed then, and the line where it was."""
    learn, pressing = learner(), Pressing(*when)
    before = look(learn)
    try:
        with pressing.on():
            work(learn, pressing)
    except KeyboardInterrupt as error:
        found = first_difference(before, look(learn))  # while the traceback is held
        del error
    else:
        found = first_difference(before, look(learn))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_grad_enabled(True)
    return found and f"{pressing.at}: {found}"


WORKS = {
    "probe": (enter_and_leave, everything, 100),
    "fit": (fit, surroundings, 50),
    "find_lr": (find_lr, everything, 100),
    "rehearse": (rehearse, everything, 100),
}


@pytest.mark.parametrize("name", WORKS)
def test_nothing_is_lost_wherever_an_interrupt_comes_or_after_one_a_second(name):
    """At every tenth line; the large tier of `tests/faults` tries every one."""
    work, look, least = WORKS[name]
    when = moments(work, look)
    assert len(when) > least
    found = [lost(work, look, moment) for moment in when[::10]]
    assert [text for text in found if text] == []


def test_where_no_interrupt_waits_something_is_lost(monkeypatch):  # the control
    monkeypatch.setattr("lehr.base.interrupts._must_wait", lambda frame: False)
    monkeypatch.setattr("lehr.state.ownership._lock", threading.RLock())  # it may be lost, too
    monkeypatch.setattr("lehr.state.ownership._owner", None)
    when = moments(enter_and_leave, everything)
    assert any(lost(enter_and_leave, everything, moment) for moment in when[len(when) // 2 :: 5])

"""explain() draws the loop that really runs."""

from contextlib import contextmanager

from lehr import Callback, Layer
from lehr.events import ACTIONS, EVENTS
from lehr.inspect import explain
from lehr.testing import EventLog, tiny_learner


class Clip(Callback):
    layer = Layer.CLIP

    def finish_grad(self, run, proceed):
        proceed()


class Noise(Callback):
    def finish_grad(self, run, proceed):
        proceed()

    def after_loss(self, run): ...


def line(text: str, name: str) -> list[str]:
    found = [
        row.split(maxsplit=1) for row in text.splitlines() if row.split()[0] in (name, f"{name}()")
    ]
    assert len(found) == 1
    return found[0][1].split() if len(found[0]) > 1 else []


def test_it_names_listeners_and_wrappers_in_their_order():
    text = tiny_learner([Clip(), Noise()]).explain()
    assert line(text, "finish_grad") == ["Noise", ">", "Clip", ">", "loop"]
    assert line(text, "backward") == ["loop"]
    assert line(text, "after_loss") == ["Noise"]
    assert line(text, "after_pred") == []
    assert line(text, "after_batch") == ["Recorder"]


def test_the_order_shown_is_the_order_that_runs():
    spy = EventLog()
    tiny_learner([spy], items=8).fit(1)
    shown = [row.split()[0].rstrip("()") for row in explain([spy]).splitlines()]
    shown = [name for name in shown if name in (*EVENTS, *ACTIONS)]
    assert shown == list(dict.fromkeys(name for name in spy.log))


def test_the_callbacks_of_a_fit_can_be_shown_with_it():
    learn = tiny_learner([Noise()])
    assert line(learn.explain(), "finish_grad") == ["Noise", ">", "loop"]
    assert line(learn.explain([Clip()]), "finish_grad") == ["Noise", ">", "Clip", ">", "loop"]


def test_it_shows_who_has_a_context_manager_open_for_the_whole_fit():
    class Around(Callback):
        @contextmanager
        def around_fit(self, run):
            yield

    assert line(tiny_learner([Around()]).explain(), "around_fit") == ["Around"]
    assert line(tiny_learner().explain(), "around_fit") == []

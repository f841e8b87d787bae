"""explain() draws the loop that really runs."""

import html
from contextlib import contextmanager

from lehr import Callback, Layer
from lehr.callbacks import EMA, ClipGradients
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


class Rests(EventLog):
    """An `EventLog` that also notes where the run rests."""

    def begin_fit(self, run):
        self.log.append("begin_fit")
        run.at_rest(lambda run, rest: self.log.append("rest"))


def without_validation_batches(log):
    begin, end = log.index("begin_validate") + 1, log.index("after_validate")
    return [*log[:begin], *log[end:]]


def test_the_rests_shown_are_those_where_the_run_rests():
    spy = Rests()
    tiny_learner([spy], items=8).fit(1)  # one batch
    words = [row.replace("-- rest", "rest").split()[0] for row in explain([spy]).splitlines()]
    names = [word.rstrip("(),") for word in words]
    shown = [name for name in names if name in (*EVENTS, *ACTIONS, "rest")]
    assert shown == without_validation_batches(spy.log)


def test_a_validation_by_steps_has_a_rest_before_and_after_as_it_says():
    spy = Rests()
    tiny_learner([spy], items=8).fit(1, validate_every="1 steps")
    log = without_validation_batches(spy.log)
    after = log[log.index("after_batch") + 1 :]
    assert after[:5] == ["rest", "begin_validate", "after_validate", "rest", "after_train"]
    assert "if a validation by steps is due: the validation, rest" in explain([spy])


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


def test_the_text_shows_itself_as_it_is():
    text = tiny_learner().explain()
    assert repr(text) == str(text)
    assert text.startswith("fit\n")
    assert text._repr_html_() == f"<pre>{html.escape(text)}</pre>"


def test_it_says_whether_the_step_is_fused_and_what_keeps_it_from_that():
    learn = tiny_learner(compile=True)
    fused = learn.explain()
    for action in set(ACTIONS) - {"one_batch"}:
        assert line(fused, action) == ["one", "graph"]
    assert line(fused, "one_batch") == ["loop"]
    text = learn.explain([Clip(), Noise()])
    assert text.splitlines()[0] == (
        "fit, the steps not fused: Clip wraps finish_grad; leave it out; Noise wraps finish_grad, "
        "after_loss; leave it out"
    )
    assert line(text, "predict") == ["loop"]
    assert tiny_learner([Clip()]).explain().splitlines()[0] == "fit"


def test_it_says_which_callbacks_are_in_the_graph():
    text = tiny_learner([ClipGradients(1.0), EMA(0.9)], compile=True).explain()
    assert line(text, "finish_grad") == ["one", "graph,", "with", "ClipGradients", "in", "it"]
    assert line(text, "after_step") == ["EMA", "(EMA", "in", "the", "graph)"]
    assert line(text, "step") == ["one", "graph"]

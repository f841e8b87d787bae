"""What errors say."""

import gc
from contextlib import contextmanager
from types import FunctionType

import pytest
import torch

from lehr import Callback, DataBunch, data
from lehr.events import CancelBatch, CancelEpoch, CancelFit, Layer
from lehr.loop.blame import where
from lehr.testing import tiny_learner


def watch(self, run):
    pass


def act(self, run, proceed):
    proceed()


def with_method(name, method=watch, **attributes):
    """A callback with one method."""
    return type("Mine", (Callback,), {name: method, **attributes})()


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
    ("name", "note"),
    [
        ("begin_fit", "before the first step."),
        ("begin_epoch", "epoch 1."),
        ("begin_train", "epoch 1, training."),
        ("begin_batch", "epoch 1, training batch 0. xb: "),
        ("predict", "epoch 1, training batch 0. xb: "),
        ("step", "epoch 1, training batch 0. xb: "),
        ("after_batch", "epoch 1, training batch 0. xb: "),
        ("after_train", "epoch 1, training."),
        ("begin_validate", "epoch 1, validation."),
        ("after_validate", "epoch 1, validation."),
        ("after_epoch", "epoch 1."),
        ("after_fit", "after 8 steps."),
    ],
)
def test_an_error_names_callback_event_or_action_and_what_was_under_way(name, note):
    def fail(self, run, *proceed):
        if run.epoch == 1 or name == "begin_fit":
            raise ZeroDivisionError("mine")
        for go_on in proceed:
            go_on()

    callback = type("Broken", (Callback,), {name: named(fail, name)})()
    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        tiny_learner([callback]).fit(2)
    assert notes(raised).startswith(f"In Broken.{name}, {note}")
    assert ("batch" in notes(raised)) == ("batch 0" in note)


@pytest.mark.parametrize("part", ["before", "after", "an error passes through"])
def test_an_error_of_around_fit_names_it_and_one_that_passes_does_not(part):
    class Around(Callback):
        @contextmanager
        def around_fit(self, run):
            if part == "before":
                raise ZeroDivisionError
            yield
            if part == "after":
                raise ZeroDivisionError

    passing = [broken("after_batch")] if part not in ("before", "after") else []
    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([Around(), *passing]).fit(1)
    assert notes(raised).startswith(
        {
            "before": "In Around.around_fit, before the first step.",
            "after": "In Around.around_fit, after 4 steps.",
        }.get(part, "In Broken.after_batch, epoch 0, training batch 0. xb")
    )


@pytest.mark.parametrize(
    ("event", "scope", "position"),
    [
        ("begin_fit", "fit", "after 4 steps."),
        ("begin_epoch", "epoch", "epoch 0."),
        ("begin_train", "training", "epoch 0, training."),
        ("begin_batch", "batch", "epoch 0, training batch 0. xb: "),
        ("begin_validate", "validation", "epoch 0, validation."),
    ],
)
def test_an_error_of_a_clean_up_names_the_scope(event, scope, position):
    def defer(self, run):
        run.defer(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([with_method(event, defer)]).fit(1)
    assert notes(raised).startswith(f"In a clean-up that was deferred in the {scope}, {position}")


def test_an_error_of_what_visits_a_run_at_rest_names_no_batch():
    class Visits(Callback):
        def begin_fit(self, run):
            run.at_rest(lambda run, rest: 1 / (rest.stage == "epoch"))

    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([Visits()]).fit(1)
    assert notes(raised) == "In the loop, epoch 0, training."


class Silent(Exception):
    """Takes no notes."""

    def add_note(self, note):
        raise RuntimeError("no notes")


class NoList(Exception):
    __notes__ = ()


@pytest.mark.parametrize("kind", [Silent, NoList])
def test_an_error_that_takes_no_notes_is_raised_as_it_is(kind):
    error = kind("mine")

    def fail(self, run):
        raise error

    with pytest.raises(kind, match="mine") as raised:
        tiny_learner([with_method("after_loss", fail)]).fit(1)
    assert raised.value is error


def test_an_error_below_wrappers_names_the_whole_chain():
    outer = with_method("compute_loss", named(act, "compute_loss"), layer=Layer.WINDOW)
    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([broken("compute_loss"), outer]).fit(1)
    assert notes(raised).startswith("In Mine.compute_loss > Broken.compute_loss, epoch 0, ")


def test_an_error_of_the_loss_names_the_action_the_batch_and_the_hint():
    learn = tiny_learner(loss_func=lambda pred, yb: torch.nn.functional.cross_entropy(pred, yb + 1))
    learn.rehearsal = False
    with pytest.raises(IndexError) as raised:
        learn.fit(1)
    text = notes(raised)
    assert text.startswith("In compute_loss, epoch 0, training batch 0. xb: (8, 3) float32 cpu; yb")
    assert text.endswith("pred: (8, 2) float32 cpu.")
    learn = tiny_learner(loss_func=lambda pred, yb: pred.detach().sum())
    with pytest.raises(RuntimeError) as raised:
        learn.fit(1)
    assert "In backward, " in notes(raised)
    assert "a callback that set run.loss, gave a tensor without a graph" in notes(raised)


def test_an_error_that_has_nothing_to_do_with_the_batch_gets_no_hint():
    learn = tiny_learner([broken("after_batch")])
    with pytest.raises(ZeroDivisionError) as raised:
        learn.fit(1)
    assert len(raised.value.__notes__) == 1


def test_where_no_callback_and_no_action_is_at_work_it_is_the_loop():
    with pytest.raises(ZeroDivisionError) as raised:
        1 / 0
    assert where(raised.tb, None).text == ""


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


def test_an_error_that_takes_no_notes_comes_out_as_it_is():
    class Closed(Exception):
        def add_note(self, note):
            raise TypeError("no notes")

    error = Closed("mine")

    def fail(self, run):
        raise error

    with pytest.raises(Closed, match="mine") as raised:
        tiny_learner([with_method("after_loss", fail)]).fit(1)
    assert raised.value is error


def fails(me, run, proceed):
    raise ZeroDivisionError("mine")


def returns(me, run, proceed):
    proceed()
    return "a value"


@pytest.mark.parametrize("action", ["one_batch", "predict", "backward", "step", "zero_grad"])
@pytest.mark.parametrize("method", [fails, returns])
def test_an_error_of_an_action_names_it_whatever_its_method_and_self_are_called(action, method):
    with pytest.raises((ZeroDivisionError, TypeError), match=r"mine|returned a value") as raised:
        tiny_learner([with_method(action, method)], rehearsal=False).fit(1)
    assert notes(raised).startswith(f"In Mine.{action}, epoch 0, training batch 0. xb: ")


def test_an_action_that_calls_its_parents_is_named_once():
    class Parent(Callback):
        def step(self, run, proceed):
            raise ZeroDivisionError

    class Child(Parent):
        def step(self, run, proceed):
            super().step(run, proceed)

    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([Child()]).fit(1)
    assert notes(raised).startswith("In Child.step, epoch 0")


def test_a_callback_that_keeps_the_run_is_not_taken_for_the_loop():
    class Keeps(Callback):
        def begin_fit(self, run):
            self.run = run

        def after_loss(self, run):
            self.helper()

        def helper(self):
            raise ZeroDivisionError

    Keeps.helper = named(Keeps.helper, "backward")
    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([Keeps()]).fit(1)
    assert notes(raised).startswith("In Keeps.after_loss, epoch 0")


def test_an_error_of_a_run_inside_is_placed_by_both():
    class Bad(Callback):
        def after_loss(self, run):
            raise ValueError("bad")

    class Trains(Callback):
        def after_batch(self, run):
            tiny_learner([Bad()]).fit(1)

    with pytest.raises(ValueError, match="bad") as caught:
        tiny_learner([Trains()]).fit(1)
    inner, outer = caught.value.__notes__
    assert inner.startswith("In Bad.after_loss, epoch 0, training batch 0.")
    assert outer.startswith("In Trains.after_batch, epoch 0, training batch 0.")


def test_a_cancel_is_of_the_callback_that_raised_it_whoever_was_called_after_it():
    class First(Callback):
        def begin_fit(self, run):
            raise CancelEpoch

    class Second(Callback):
        def begin_fit(self, run): ...

    for callbacks in ([First(), Second()], [Second(), First()]):
        with pytest.raises(RuntimeError, match=r"^CancelEpoch was raised in First\.begin_fit"):
            tiny_learner(callbacks, rehearsal=False).fit(1)


def test_the_error_of_a_run_inside_has_its_place_in_both():
    class Inside(Callback):
        def begin_fit(self, run):
            run.learn.validate(callbacks=[broken("after_validate")])

    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner([Inside()], rehearsal=False).fit(1)
    assert raised.value.__notes__ == [
        "In Broken.after_validate, epoch 0, validation.",
        "In Inside.begin_fit, before the first step.",
    ]


def test_a_loss_without_a_graph_is_no_fault_in_a_validation():
    with pytest.raises(ZeroDivisionError) as raised:
        tiny_learner().validate(callbacks=[broken("after_batch")])
    assert "without a graph" not in notes(raised)


class Faulty(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 13:
            raise LookupError(f"no item {index}")
        return torch.ones(3), 0


@pytest.mark.slow
@pytest.mark.parametrize("loader", [data.DataLoader, torch.utils.data.DataLoader])
def test_an_error_in_a_worker_process_is_placed_in_the_users_own_line(loader, monkeypatch):
    learn = tiny_learner(rehearsal=False)
    learn.data = DataBunch(loader(Faulty(), 4, num_workers=1))
    try:  # pytest.raises would keep the frames, and with them the processes, alive
        learn.fit(1)
    except LookupError as error:
        notes = error.__notes__
    assert notes[0].startswith(f"In a worker process, at {__file__}:")
    assert notes[0].endswith('in __getitem__: raise LookupError(f"no item {index}").')
    assert notes[1] == "In the loop, between batches or reading one, epoch 0, training batch 3."
    # torch's loader waits so many seconds for a worker that has raised, and then ends it
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    del learn
    gc.collect()


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (lambda run: setattr(run, "los", 1), "Did you mean run.loss? What a callback keeps is an"),
        (lambda run: run.prediction, "What a callback keeps is an attribute of its own, self.pred"),
        (lambda run: run.history.rowz, None),
        (lambda run: [].los, None),
    ],
)
def test_a_field_that_the_run_does_not_have_gets_the_nearest(body, hint):
    mine = with_method("after_loss", lambda self, run: body(run))
    with pytest.raises(AttributeError) as raised:
        tiny_learner([mine]).fit(1)
    found = [note for note in raised.value.__notes__ if "run.log(" in note]
    assert len(found) == (hint is not None)
    assert not hint or found[0].startswith(hint)


@pytest.mark.parametrize("returned", [None, (1, 2, 3)])
def test_what_split_batch_must_return_is_said(returned):
    learn = tiny_learner(split_batch=lambda batch: returned)
    with pytest.raises((TypeError, ValueError)) as raised:
        learn.fit(1)
    assert "split_batch must return a pair, (xb, yb)" in notes(raised)

    def fails(batch):
        xb, yb = returned if returned is None else [1, 2, 3]
        return xb, yb

    with pytest.raises((TypeError, ValueError)) as raised:
        tiny_learner(split_batch=fails).fit(1)
    assert "must return a pair" not in notes(raised)  # its own line failed

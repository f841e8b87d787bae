"""What callbacks may ask of a run, and what they may not set."""

import re

import pytest
import torch

from lehr import Callback, accuracy
from lehr.testing import tiny_learner

PUBLIC = [
    *("learn", "model", "opt", "loss_func", "data", "epoch", "epochs", "batch_index"),
    *("num_batches", "n_iter", "n_steps", "n_epochs", "pos", "weight", "training", "stepped"),
    *("batch", "xb", "yb", "pred", "loss", "history", "recorder"),
]


class Look(Callback):
    def after_loss(self, run):
        self.seen = {name: getattr(run, name) for name in PUBLIC}


def test_every_public_name_is_there_and_means_what_it_says():
    look = Look()
    learn = tiny_learner([look])
    learn.data.valid_dl = None
    learn.fit(2)
    seen = look.seen
    assert seen["learn"] is learn
    assert seen["model"] is learn.model
    assert (seen["epoch"], seen["epochs"], seen["batch_index"], seen["num_batches"]) == (1, 2, 3, 4)
    assert (seen["n_iter"], seen["n_steps"], seen["n_epochs"], seen["pos"]) == (7, 7, 1.75, 7 / 8)
    assert (seen["weight"], seen["training"], seen["stepped"]) == (8, True, False)
    assert torch.equal(seen["batch"][0], seen["xb"])
    assert seen["pred"].shape == (8, 2)
    assert seen["loss"].ndim == 0


@pytest.mark.parametrize("name", ["learner", "xs", "lr", "stop_training"])
def test_other_names_cannot_be_set(name):
    run = tiny_learner().fit(1)
    with pytest.raises(AttributeError):
        setattr(run, name, 1)


@pytest.mark.parametrize("name", ["learn", "pos", "planned_steps", "n_epochs"])
def test_what_is_computed_cannot_be_set(name):
    run = tiny_learner().fit(1)
    with pytest.raises(AttributeError):
        setattr(run, name, 1)


def test_after_the_fit_no_batch_and_no_graph_is_held():
    run = tiny_learner().fit(1)
    assert [getattr(run, name) for name in ("batch", "xb", "yb", "pred", "loss")] == [None] * 5


def test_defer_wants_a_function():
    class Wrong(Callback):
        def begin_fit(self, run):
            run.defer(None)

    with pytest.raises(TypeError, match=r"defer takes a function without arguments; got None"):
        tiny_learner([Wrong()]).fit(1)


def test_assigning_to_the_run_lasts_for_this_run_only():
    class Replace(Callback):
        def begin_fit(self, run):
            run.loss_func = lambda pred, yb: pred.sum() * 0

    learn = tiny_learner()
    before = learn.loss_func
    run = learn.fit(1, callbacks=[Replace()])
    assert set(run.history["loss"]) == {0.0}
    assert learn.loss_func is before
    assert set(learn.fit(1).history["loss"]) != {0.0}


def test_a_run_shows_what_it_reached():
    run = tiny_learner(metrics=[accuracy]).fit(2)
    assert re.fullmatch(
        r"Run\(epoch 1, 8 steps, train_loss 0\.\d+, valid_loss 0\.\d+, accuracy 0\.\d+, "
        r"seconds 0\.\d\ds\)",
        repr(run),
    )
    page = run._repr_html_()
    assert page.startswith("<small>8 steps, seed 0</small><table>")
    assert page.count("<tr>") == 3


def test_a_run_shows_why_it_stopped_as_text_not_as_markup():
    class Stop(Callback):
        def after_step(self, run):
            run.stop("<b>enough</b>")

    run = tiny_learner([Stop()]).fit(1)
    assert "stopped: <b>enough</b>)" in repr(run)
    assert "stopped: &lt;b&gt;enough&lt;/b&gt;</small>" in run._repr_html_()
    assert repr(tiny_learner().fit(0)) == "Run(no epoch, 0 steps)"


@pytest.mark.parametrize("ask", ["stop", "interrupt"])
@pytest.mark.parametrize(("reason", "kind"), [(None, TypeError), (3, TypeError), ("", ValueError)])
def test_who_asks_for_an_end_must_say_why(ask, reason, kind):
    class Ask(Callback):
        def after_step(self, run):
            getattr(run, ask)(reason)

    with pytest.raises(kind, match=r"^reason must (be a text|not be empty).*in a few words"):
        tiny_learner([Ask()]).fit(1)


@pytest.mark.parametrize(("name", "length"), [("epochs", {"epochs": 2}), ("steps", {"steps": 9})])
def test_the_length_of_a_run_is_settled_when_it_begins(name, length):
    class Longer(Callback):
        def begin_epoch(self, run):
            setattr(run, name, 3)

    learn = tiny_learner([Longer()])
    match = rf"^run\.{name} cannot be assigned: .* run\.stop\(reason\).* call fit again"
    with pytest.raises(AttributeError, match=match):
        learn.fit(**length)
    assert (getattr(learn.run, name), learn.run.n_steps) == (length[name], 0)


def test_what_is_logged_after_an_epoch_has_its_number_though_a_validation_has_ended_the_row():
    class LogAfter(Callback):
        def after_epoch(self, run):
            run.log("late", run.epoch)

        def after_fit(self, run):
            run.log("end", 1)

    run = tiny_learner([LogAfter()]).fit(2, validate_every="2 steps")
    late = [row for row in run.history.rows if "late" in row]
    assert [(row["epoch"], row["step"], row["late"]) for row in late] == [(0, 4, 0), (1, 8, 1)]
    assert repr(run).startswith("Run(epoch 1, 8 steps, ")

"""EarlyStopping judges every row once, and can bring the best model back."""

import math
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr import Callback, CancelFit, DataBunch, accuracy
from lehr.callbacks import EarlyStopping
from lehr.state.differences import first_difference
from lehr.state.entries import ModelState
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner
from tests.tier import count

NAN = float("nan")


class Score(Callback):
    """Puts given values into the rows."""

    def __init__(self, values):
        self.values = values

    def after_epoch(self, run):
        run.history.log_row("score", self.values[run.epoch])


def fit(values, **kwargs):
    stopping = EarlyStopping("score", **{"mode": "min", **kwargs})
    learn = tiny_learner([stopping, Score(values)], items=8)
    return stopping, learn.fit(len(values))


def expected(values, patience, min_delta, mode):
    """(epochs, best, its epoch), written out."""
    best, at, waited = None, None, 0
    for epoch, value in enumerate(values):
        if value is None:
            continue
        gain = None if best is None else (best - value if mode == "min" else value - best)
        if not math.isnan(value) and (gain is None or gain > min_delta):
            best, at, waited = value, epoch, 0
        else:
            waited += 1
        if waited == patience:
            return epoch + 1, best, at
    return len(values), best, at


def test_without_patience_the_best_is_kept_and_nothing_is_stopped():
    stopping, run = fit([1.0, 0.5, 0.7, 0.8, 0.9, 0.6], patience=None, restore_best=True)
    assert (len(run.history), run.stop_reason, stopping.best_epoch) == (6, None, 1)
    _, run = fit([1.0, 0.5, 0.7, 0.8, 0.9, 0.6], patience=3)
    assert len(run.history) == 5


VALUES = st.lists(
    st.one_of(st.none(), st.just(NAN), st.integers(-8, 8).map(lambda n: n / 4)), max_size=10
)


@pytest.mark.slow
@settings(max_examples=count(50), deadline=None)
@given(
    values=VALUES,
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.25, 1.0]),
    mode=st.sampled_from(["min", "max"]),
)
def test_it_does_what_the_written_out_rule_does(values, patience, min_delta, mode):
    stopping, run = fit(values, patience=patience, min_delta=min_delta, mode=mode)
    epochs, best, at = expected(values, patience, min_delta, mode)
    assert (len(run.history), stopping.best, stopping.best_epoch) == (epochs, best, at)
    stopped = bool(values) and stopping.waited == patience
    assert (run.stop_reason is not None) is stopped


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ([3.0, 2.0, 1.0, 0.0], 4),
        ([3.0, 3.0, 3.0, 3.0], 3),
        ([3.0, 4.0, 2.0, 2.0, 2.0, 1.0], 5),
        ([3.0, NAN, 4.0, 1.0], 3),
        ([3.0, None, 4.0, None, None, 2.0], 6),
        ([NAN, NAN, 1.0], 2),
    ],
)
def test_patience_counts_values_in_a_row_that_were_not_better(values, epochs):
    _, run = fit(values, patience=2)
    assert len(run.history) == epochs


def test_the_reason_tells_the_best_its_epoch_and_the_patience():
    _, run = fit([3.0, 1.5, 2.0, 2.0, 0.0], patience=2)
    reason = "score was not better than 1.5 (epoch 1) 2 times in a row (patience=2)"
    assert run.stop_reason == reason
    _, run = fit([3.0, 2.9, 2.8], patience=2, min_delta=0.5)
    assert "than 3 (epoch 0) by more than 0.5, 2 times in a row" in run.stop_reason
    _, run = fit([NAN], patience=1)
    assert run.stop_reason == "score was nan 1 time in a row (patience=1)"


def test_rows_in_the_middle_of_an_epoch_are_judged_too_and_each_once():
    stopping = EarlyStopping(patience=3, min_delta=10.0)
    run = tiny_learner([stopping]).fit(5, validate_every="1 steps")
    assert run.n_steps == 4  # the first is better than nothing, three are not
    assert run.history["step"] == [1, 2, 3, 4]
    assert stopping.best_epoch == 0


def test_train_loss_is_judged_and_works_without_validation():
    stopping = EarlyStopping("train_loss", patience=1, min_delta=10.0)
    learn = tiny_learner([stopping])
    learn.data = DataBunch(learn.data.train_dl, None)
    assert len(learn.fit(5).history) == 2
    with pytest.raises(ValueError, match=r"EarlyStopping waits for .* there is no validation"):
        learn.fit(1, [EarlyStopping()])
    with pytest.raises(ValueError, match=r"no validation loader. Use one of: train_loss"):
        learn.fit(1, [EarlyStopping("unknown_loss")])  # which a callback might have written


def test_a_metric_is_judged_by_its_name():
    stopping = EarlyStopping("accuracy", patience=2)
    run = tiny_learner([stopping], metrics=[accuracy]).fit(30)
    scores = run.history["accuracy"]
    assert stopping.best == max(scores)
    assert scores.index(max(scores)) == stopping.best_epoch == len(scores) - 3


def test_a_name_that_never_appears_is_an_error_at_once_or_after_the_first_validation():
    for rehearsal, rows in ((True, 0), (False, 1)):
        stopping = EarlyStopping("acuracy", mode="max")
        learn = tiny_learner([stopping], metrics=[accuracy], rehearsal=rehearsal)
        with pytest.raises(ValueError, match=r"='acuracy' is no column.* Did you mean accuracy"):
            learn.fit(3)
        assert len(learn.run.history) == rows


def test_validation_every_second_epoch_is_waited_for():
    stopping = EarlyStopping("accuracy", patience=1)
    learn = tiny_learner([stopping], metrics=[accuracy])
    run = learn.fit(6, validate_every="2 epochs")
    judged = [value for value in run.history["accuracy"] if value is not None]
    assert stopping.best == max(judged)


class Weights(Callback):
    """Keeps the model as it was after each epoch."""

    phase = 3

    def begin_fit(self, run):
        self.each = []

    def after_epoch(self, run):
        self.each.append(capture({"model": ModelState(run.model)})["model"])


def restoring(values, callbacks=(), **kwargs):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    weights = Weights()
    stopping = EarlyStopping("score", mode="min", restore_best=True, **kwargs)
    learn = tiny_learner([stopping, Score(values), weights, *callbacks], model=model)
    return learn, stopping, weights


@pytest.mark.parametrize("epochs", [6, 3])  # ended by the stop, and by itself
def test_the_best_model_comes_back_buffers_included(epochs):
    learn, stopping, weights = restoring([3.0, 1.0, 2.0, 2.0, 2.0, 2.0], patience=3)
    learn.fit(epochs)
    now = capture({"model": ModelState(learn.model)})["model"]
    assert stopping.best_epoch == 1
    assert first_difference(now, weights.each[1]) is None
    assert first_difference(now, weights.each[-1]) is not None
    assert first_difference(now["0.running_mean"], weights.each[2]["0.running_mean"])
    assert stopping.best_weights is None


def test_without_being_asked_the_last_model_stays():
    learn, stopping, weights = restoring([1.0, 2.0, 3.0], patience=3)
    stopping.restore_best = False
    learn.fit(3)
    now = capture({"model": ModelState(learn.model)})["model"]
    assert first_difference(now, weights.each[2]) is None


class Ends(Callback):
    def __init__(self, end):
        self.end = end

    def after_step(self, run):
        if run.epoch == 2:
            self.end()


def cancel():
    raise CancelFit("enough")


def test_it_comes_back_after_a_cancel_and_after_ctrl_c_but_not_after_an_error():
    for end, error in ((cancel, None), (lambda: signal.raise_signal(signal.SIGINT), "ctrl")):
        learn, _, weights = restoring([1.0, 2.0, 3.0, 4.0], [Ends(end)], patience=9)
        if error:
            with pytest.raises(KeyboardInterrupt):
                learn.fit(4)
        else:
            learn.fit(4)
        now = capture({"model": ModelState(learn.model)})["model"]
        assert first_difference(now, weights.each[0]) is None
    learn, stopping, weights = restoring([1.0, 2.0, 3.0], [Ends(lambda: 1 / 0)], patience=9)
    with pytest.raises(ZeroDivisionError):
        learn.fit(3)
    now = capture({"model": ModelState(learn.model)})["model"]
    assert first_difference(now, weights.each[0]) is not None
    assert first_difference(stopping.best_weights, weights.each[0]) is None


def test_the_row_of_an_epoch_that_was_cut_short_counts_for_the_best():
    class CutAfterValidation(Callback):
        def after_validate(self, run):
            if run.epoch == 1:
                raise CancelFit("enough")

    stopping = EarlyStopping()
    run = tiny_learner([stopping, CutAfterValidation()]).fit(5)
    losses = run.history["valid_loss"]
    assert losses[1] < losses[0]
    assert (stopping.best, stopping.best_epoch) == (losses[1], 1)


def test_a_new_fit_starts_anew():
    stopping = EarlyStopping(patience=1, min_delta=10.0)
    learn = tiny_learner([stopping])
    assert [len(learn.fit(5).history) for _ in range(2)] == [2, 2]


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"patience": 0}, "patience must be at least 1; got 0"),
        ({"patience": 1.5}, "patience must be an int of at least 1; got 1.5"),
        ({"monitor": "size"}, "monitor='size' does not tell which way is better"),
        ({"min_delta": -1}, "min_delta must be 0 or more; got -1"),
    ],
)
def test_wrong_arguments_speak(kwargs, text):
    with pytest.raises((TypeError, ValueError), match=text):
        EarlyStopping(**kwargs)


def test_it_prints_as_what_it_watches():
    assert repr(EarlyStopping(patience=5)) == "EarlyStopping('valid_loss', patience=5)"


def test_it_says_which_epoch_it_keeps_and_by_which_column():
    values = [1.0, 0.5, 0.7]
    assert fit(values, restore_best=True)[0].keeps == (1, "score")
    assert fit(values)[0].keeps is None  # it puts nothing back
    assert fit([NAN, NAN], restore_best=True)[0].keeps is None  # nothing was better than nothing

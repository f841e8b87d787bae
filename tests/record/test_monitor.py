"""Which value is better, and which rows are judged when."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.optim import lr_scheduler

from lehr import Callback, DataBunch, accuracy
from lehr.callbacks import Checkpoint, EarlyStopping, ReduceOnPlateau, TorchScheduler
from lehr.engine import ALONE, Engine
from lehr.record.history import History
from lehr.record.monitor import Monitor, more_is_better
from lehr.testing import tiny_learner

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "than", "mode", "delta", "better"),
    [
        (0.5, None, "min", 0.0, True),
        (NAN, None, "min", 0.0, False),
        (NAN, 0.5, "min", 0.0, False),
        (NAN, 0.5, "max", 0.0, False),
        (0.4, 0.5, "min", 0.0, True),
        (0.4, 0.5, "max", 0.0, False),
        (0.5, 0.5, "min", 0.0, False),
        (0.5, 0.5, "max", 0.0, False),
        (0.25, 0.5, "min", 0.25, False),  # by exactly min_delta is not more than that
        (0.24, 0.5, "min", 0.25, True),
        (0.75, 0.5, "max", 0.25, False),
        (0.76, 0.5, "max", 0.25, True),
        (INF, INF, "min", 0.0, False),
        (1.0, INF, "min", 0.5, True),
    ],
)
def test_better(value, than, mode, delta, better):
    assert Monitor("x", mode, delta).better(value, than) is better


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("valid_loss", "min"),
        ("clean/valid_loss", "min"),
        ("train_accuracy", "max"),
        ("valid_error", "min"),
        ("f1", "max"),
    ],
)
def test_the_mode_of_common_names_is_known(name, mode):
    assert Monitor(name).mode == mode
    assert Monitor(name, "max").mode == "max"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("valid_loss", False),
        ("clean/accuracy", True),
        ("binary_f1_score", True),
        ("mean_squared_error", False),
        ("perplexity", False),
        ("learning", None),
        ("accuracy, weights that were kept", True),
        ("brier_score", None),
        ("accuracy_loss", None),
        ("accuracy/size", None),
        ("glossy", None),
    ],
)
def test_more_is_better(name, answer):
    assert more_is_better(name) is answer


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("size",), ValueError, "monitor='size' does not tell .* Write mode=\"min\" or"),
        (("f1", "low"), ValueError, 'mode must be "min" or "max"; got \'low\'. Choose'),
        (("valid_loss", None, -0.1), ValueError, "min_delta must be 0 or more; got -0.1"),
        (("valid_loss", None, NAN), ValueError, "min_delta must be finite; got nan"),
        (("valid_loss", None, "1"), TypeError, "min_delta must be a real number; got '1'"),
        ((None,), TypeError, "monitor must be the name of a column; got None. Write"),
    ],
)
def test_wrong_arguments_speak(arguments, error, text):
    with pytest.raises(error, match=text):
        Monitor(*arguments)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("acuracy", "accuracy"),
        ("valid_los", "valid_loss"),
        ("clean/valid_losss", "clean/valid_loss"),
    ],
)
def test_a_misspelt_word_is_named_before_a_mode_is_asked_for(name, meant):
    with pytest.raises(ValueError, match=rf'Did you mean {meant}\? Else write mode="min" or'):
        Monitor(name)
    with pytest.raises(ValueError, match=r'accuracy does\. Write mode="min"'):  # the control
        Monitor("size")


def run(*rows, valid_names=("",)):
    history = History()
    for row in rows:
        history.open_row(**row)
    return SimpleNamespace(history=history, epoch=9, valid_names=list(valid_names), engine=ALONE)


def test_every_finished_row_is_judged_once_and_none_is_left_out():
    state = run(
        dict(epoch=0, valid_loss=0.5, seconds=1),
        dict(epoch=1, valid_loss=None, seconds=1),
        dict(valid_loss=NAN, seconds=1),
        dict(epoch=3, valid_loss=0.25),
    )
    seen, values = Monitor("valid_loss").judge(state, 0)
    assert seen == 3
    assert values[0] == (0, 0.5)
    assert values[1][0] == 9
    assert values[1][1] != values[1][1]
    assert Monitor("valid_loss").judge(state, seen) == (3, [])
    state.history.log_row("seconds", 1)
    assert Monitor("valid_loss").judge(state, seen) == (4, [(3, 0.25)])


def test_an_unknown_column_is_an_error_once_the_run_has_validated():
    monitor = Monitor("acuracy", "max")
    early = run(dict(epoch=0, valid_loss=None, seconds=1))
    assert monitor.judge(early, 0) == (1, [])
    text = r"monitor='acuracy' is no column of the history after the first validation. Did you mean"
    state = run(dict(epoch=0, valid_loss=0.5, accuracy=0.5, seconds=1))
    with pytest.raises(ValueError, match=rf"{text} accuracy\?"):
        monitor.judge(state, 0)
    several = run(dict(**{"a/valid_loss": 1.0}, seconds=1), valid_names=("a", "b"))
    with pytest.raises(ValueError, match="Use one of: a/valid_loss"):
        Monitor("xyz", "min").judge(several, 0)


def test_without_validation_it_is_an_error_at_once():
    state = run(dict(epoch=0, train_loss=0.5, seconds=1), valid_names=())
    with pytest.raises(ValueError, match=r"there is no validation loader. Use one of: train_loss"):
        Monitor("valid_loss").judge(state, 0)
    assert Monitor("train_loss").judge(state, 0) == (1, [(0, 0.5)])


def test_the_values_are_those_of_the_first_process():
    class Second(Engine):
        def same(self, value):
            return [(0, 0.75)]

    state = run(dict(epoch=0, score=0.5, seconds=1))
    state.engine = Second()
    assert Monitor("score", "max").judge(state, 0) == (1, [(0, 0.75)])


def test_a_column_seen_before_may_be_missing_from_a_row():
    state = run(
        dict(epoch=0, valid_loss=0.5, f1=0.5, seconds=1), dict(epoch=1, valid_loss=0.4, seconds=1)
    )
    assert Monitor("f1", "max").judge(state, 1) == (2, [])


@pytest.mark.parametrize(
    "made",
    [
        lambda name, folder: EarlyStopping(name),
        lambda name, folder: Checkpoint(folder, monitor=name),
        lambda name, folder: ReduceOnPlateau(name),
        lambda name, folder: TorchScheduler(lr_scheduler.ReduceLROnPlateau, "epoch", monitor=name),
    ],
)
@pytest.mark.parametrize("name", ["valid_loss", "clean/valid_loss", "accuracy"])
def test_what_only_a_validation_writes_is_refused_before_a_fit_without_one(made, name, tmp_path):
    learn = tiny_learner(metrics=[accuracy], opt=partial(torch.optim.SGD, lr=0.1))
    bunch = learn.data
    learn.data = DataBunch(bunch.train_dl)
    before = learn.model[0].weight.clone()
    waits = rf"waits for monitor='{name}', .* data\.valid_dl is None\. .* monitor=\"train_loss\"\.$"
    with pytest.raises(ValueError, match=waits):
        learn.fit(1, [made(name, tmp_path / "saved")])
    assert torch.equal(learn.model[0].weight, before)
    assert (learn.run, learn.steps_done) == (None, 0)
    assert not (tmp_path / "saved").exists()
    learn.fit(1, [made("train_loss", tmp_path / "saved")])  # the control, with what it says
    if "/" not in name:
        learn.data = bunch
        learn.fit(1, [made(name, tmp_path / "other")])


def test_a_column_that_a_callback_of_ones_own_may_write_is_waited_for():
    class Writes(Callback):
        def after_epoch(self, run):
            run.log("score", 1.0)

    learn = tiny_learner([Writes()])
    learn.data = DataBunch(learn.data.train_dl)
    assert len(learn.fit(2, [EarlyStopping("score", mode="max")]).history) == 2

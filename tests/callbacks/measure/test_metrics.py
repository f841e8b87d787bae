"""Metrics are right for unequal batches, in their own columns, and never stale."""

import math
import types

import pytest
import torch
import torchmetrics
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from lehr import Callback, CancelEpoch, DataBunch, accuracy, whole
from lehr.callbacks import Metrics
from lehr.record.history import History
from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten, unflatten
from lehr.state.snapshot import capture, restore
from lehr.testing import tiny_learner


def test_over_unequal_batches_it_is_the_value_over_the_whole_set():
    learn = tiny_learner(metrics=[accuracy, MulticlassAccuracy(2, average="micro")], items=46)
    run = learn.fit(2)
    ds = learn.data.valid_ds
    whole = accuracy(learn.model.eval()(ds.x), ds.y).item()
    assert run.history["accuracy"][-1] == pytest.approx(whole, abs=1e-6)
    assert run.history["multiclass_accuracy"][-1] == pytest.approx(whole, abs=1e-6)


def test_0_6_on_32_items_and_0_9_on_2_make_0_617647():
    values = iter([0.6, 0.9])
    data = DataBunch(
        [(torch.ones(2, 3), torch.zeros(2).long())],
        [(torch.ones(n, 3), torch.zeros(n).long()) for n in (32, 2)],
    )

    def metric(pred, target):
        return torch.tensor(next(values))

    run = tiny_learner(data=data, metrics=[metric], rehearsal=False).fit(1)
    assert run.history["metric"][0] == pytest.approx(0.617647, abs=1e-6)


def test_a_metric_that_gathers_is_reset_for_every_pass():
    f1 = MulticlassF1Score(2)
    run = tiny_learner(metrics=[f1]).fit(3)
    assert len(run.history["multiclass_f1_score"]) == 3
    learn = tiny_learner(metrics=[f1])
    first = learn.validate()
    assert learn.validate() == first


def test_a_collection_has_a_column_for_each():
    both = torchmetrics.MetricCollection([MulticlassAccuracy(2), MulticlassF1Score(2)])
    run = tiny_learner(metrics=[both]).fit(1)
    assert {"multiclass_accuracy", "multiclass_f1_score"} <= set(run.history.names)


def test_a_metric_that_is_no_number_says_so():
    with pytest.raises(TypeError) as caught:
        tiny_learner(metrics=[MulticlassConfusionMatrix(2)]).fit(1)
    assert "Metrics.after_validate" in caught.value.__notes__[0]


def test_training_is_measured_if_asked():
    learn = tiny_learner(callbacks=[Metrics([accuracy], train=True)])
    row = learn.fit(1).history.rows[0]
    assert 0 <= row["train_accuracy"] <= 1
    assert "accuracy" in row


def test_a_pass_cut_short_has_none():
    class Cut(Callback):
        def after_batch(self, run):
            if not run.training:
                raise CancelEpoch

    run = tiny_learner([Cut()], metrics=[accuracy], items=64, batch_size=4).fit(1)
    assert run.history["accuracy"] == [None]
    assert run.history["valid_loss"] == [None]


def test_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"different names; got \['accuracy', 'accuracy'\]. Name"):
        Metrics([accuracy, accuracy])


def test_what_is_measured_in_training_is_so_since_the_row_before():
    """As train_loss is; a validation in between neither adds to it nor takes from it."""

    class Look(Callback):
        def __init__(self):
            self.each = []

        def after_batch(self, run):
            if run.training:
                self.each.append(accuracy(run.pred, run.yb).item())

    for metric in (accuracy, MulticlassAccuracy(2, average="micro")):
        look = Look()
        run = tiny_learner([look, Metrics([metric], train=True)]).fit(1, validate_every="3 steps")
        name = "accuracy" if metric is accuracy else "multiclass_accuracy"
        measured = run.history[f"train_{name}"]
        assert measured == pytest.approx([sum(look.each[:3]) / 3, look.each[3]])


# Columns ----------------------------------------------------------------------------------------


def test_a_vector_has_a_column_for_each_number_and_no_other():
    run = tiny_learner(metrics={"acc": MulticlassAccuracy(2, average=None)}).fit(2)
    assert [name for name in run.history.names if "acc" in name] == ["acc_0", "acc_1"]
    assert all(0 <= value <= 1 for value in run.history["acc_1"])


class Both:
    """A metric whose value is a dict."""

    def update(self, pred, target):
        self.n += len(pred)

    def compute(self):
        return {"n": self.n, "half": self.n / 2}

    def reset(self):
        self.n = 0


def test_a_dict_leaves_no_column_of_the_metrics_own_name():
    run = tiny_learner(metrics=[Both()]).fit(2, validate_every="2 steps")
    assert run.history["n"] == [16, 16, 16, 16]
    assert run.history["half"] == [8, 8, 8, 8]
    assert "both" not in run.history


def test_columns_that_turn_out_to_have_one_name_are_refused():
    def n(pred, target):
        return 0.0

    with pytest.raises(
        ValueError, match=r"metrics must have different names; got \['n', 'half', 'n'\]"
    ):
        tiny_learner(metrics=[Both(), n]).validate()
    scores = tiny_learner(metrics={"my": Both(), "n": n}).validate()
    assert list(scores) == ["my_n", "my_half", "n", "valid_loss"]


def test_names_come_from_a_dict():
    run = tiny_learner(metrics={"first": accuracy, "second": accuracy}).fit(1)
    assert run.history["first"] == run.history["second"]
    assert "accuracy" not in run.history


# Over nothing -----------------------------------------------------------------------------------


class NoLoss(Callback):
    """The model has no loss in validation."""

    def __init__(self, loss=None):
        self.loss = loss

    def compute_loss(self, run, proceed):
        if run.training:
            proceed()
        else:
            run.loss = self.loss


BOTH_KINDS = {"function": accuracy, "object": MulticlassAccuracy(2)}


@pytest.mark.parametrize("metric", BOTH_KINDS.values(), ids=BOTH_KINDS)
def test_without_a_loss_nothing_is_measured_and_a_warning_says_so(metric):
    learn = tiny_learner([NoLoss()], metrics={"acc": metric})
    match = (
        r"^nothing was measured in a validation: none of 1 batches had a loss and a weight above "
        r"0\. So acc is None\. If there is no loss in validation, set run\.loss in compute_loss"
    )
    with pytest.warns(UserWarning, match=match):
        assert learn.validate() == {"acc": None, "valid_loss": None}


def test_with_a_loss_that_is_nan_the_metrics_are_measured():
    scores = tiny_learner([NoLoss(torch.tensor(math.nan))], metrics=[accuracy]).validate()
    assert 0 < scores["accuracy"] <= 1
    assert math.isnan(scores["valid_loss"])


@pytest.mark.parametrize("metric", BOTH_KINDS.values(), ids=BOTH_KINDS)
def test_without_weight_nothing_is_measured_and_a_warning_says_so(metric):
    learn = tiny_learner(metrics={"acc": metric}, weight=lambda run: 0)
    with pytest.warns(UserWarning, match="none of 1 batches had a loss and a weight above 0"):
        assert learn.validate() == {"acc": None, "valid_loss": None}
    data = DataBunch(learn.data.train_dl, {"clean": learn.data.valid_dl})
    learn = tiny_learner(metrics={"acc": metric}, weight=lambda run: 0, data=data)
    with pytest.warns(
        UserWarning, match=r"nothing was measured in a validation of the loader 'clean'"
    ):
        learn.validate()


# State ------------------------------------------------------------------------------------------


class Stand:
    """A run that tells a callback of its batches."""

    def __init__(self, metrics, train=True):
        self.metrics = Metrics(metrics, train=train)
        self.run = types.SimpleNamespace(
            loss_parts=None,
            history=History(),
            training=True,
            valid_name="",
            weight=4,
            loss=torch.ones(()),
        )
        self.metrics.begin_train(self.run)

    def batch(self, number):
        generator = torch.Generator().manual_seed(number)
        self.run.pred = torch.rand(4, 2, generator=generator)
        self.run.yb = torch.randint(2, (4,), generator=generator)
        self.metrics.after_batch(self.run)

    def validate(self):
        self.run.training = False
        self.metrics.begin_validate(self.run)
        self.batch(99)
        self.metrics.after_validate(self.run)
        self.run.history.close_row()
        self.run.training = True

    def end(self):
        self.metrics.after_train(self.run)
        return self.run.history.rows

    def play(self, steps):
        for step in steps:
            self.validate() if step == "v" else self.batch(step)
        return self


def score(pred, target):
    return pred[:, 0].mean()


PLAY = [0, 1, 2, 3, "v", 4, 5, 6, "v"]
KINDS = {
    "function": lambda: [score],
    "object": lambda: [MulticlassF1Score(2, average="macro")],
    "several": lambda: [
        torchmetrics.MetricCollection([MulticlassAccuracy(2), MulticlassF1Score(2)]),
        accuracy,
    ],
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("stop", range(len(PLAY) + 1))
@pytest.mark.parametrize("back", [False, True])
def test_a_run_goes_on_as_if_it_had_never_stopped(make, stop, back):
    first, second = Stand(make()).play(PLAY[:stop]), Stand(make())
    if back:
        second.play([7, 8, "v", 9])
    snapshot = unflatten(*flatten(capture({"h": first.run.history, "m": first.metrics})))
    entries = {"h": second.run.history, "m": second.metrics}
    restore(entries, snapshot)
    assert first_difference(snapshot, capture(entries)) is None
    whole = Stand(make()).play(PLAY).end()
    assert second.play(PLAY[stop:]).end() == whole
    assert Stand(make()).play(PLAY[stop:]).end() != whole or stop == 0  # the control


class Own:
    """Gathers, and has no state that could be kept."""

    __name__ = "own"

    def update(self, pred, target): ...
    def compute(self):
        return 0.5

    def reset(self): ...


def test_what_cannot_be_kept_is_named_only_where_it_matters():
    stand = Stand([Own()])
    capture({"m": stand.metrics})  # nothing was gathered yet
    stand.batch(0)
    with pytest.raises(TypeError, match="what the metric 'own' has gathered cannot be kept"):
        capture({"m": stand.metrics})
    stand.validate()
    assert capture({"m": stand.metrics}) == {"m": {"gathered": {}}}
    stand.batch(1)
    stand.end()
    capture({"m": stand.metrics})
    only_validated = Stand([Own()], train=False).play([0, 1, "v", 2])
    capture({"m": only_validated.metrics})


def test_a_training_pass_that_was_cut_short_leaves_nothing_to_keep():
    stand = Stand([Own()]).play([0, 1])
    stand.metrics.after_epoch(stand.run)
    assert capture({"m": stand.metrics}) == {"m": {"gathered": {}}}


@pytest.mark.parametrize("every", [None, "1 steps", "2 steps"])
@pytest.mark.parametrize("train", [False, True])
def test_a_vector_that_changes_its_length_leaves_no_other_columns(train, every):
    lengths = iter([1, 3, 2, 4, 1, 2, 3, 2, 1, 5, 2, 3, 1, 2, 4, 2, 3, 3, 1, 2, 5, 2] * 9)

    def vector(pred, target):
        return torch.ones(next(lengths) + 1)

    metrics = Metrics([whole(vector)], train=train)
    rows = tiny_learner([metrics]).fit(4, validate_every=every).history.rows
    assert any("vector_2" in row for row in rows)
    for row in rows:
        assert "vector" not in row
        assert "train_vector" not in row
        assert None not in [value for name, value in row.items() if "vector" in name]

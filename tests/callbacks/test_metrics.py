"""Metrics are right for unequal batches, in their own columns, and never stale."""

import pytest
import torch
import torchmetrics
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from lehr import Callback, CancelEpoch, DataBunch, accuracy
from lehr.callbacks import Metrics
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

    run = tiny_learner(data=data, metrics=[metric]).fit(1)
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
    with pytest.raises((ValueError, RuntimeError)) as caught:
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
    with pytest.raises(ValueError, match=r"different names; got \['accuracy', 'accuracy'\]. Set"):
        Metrics([accuracy, accuracy])

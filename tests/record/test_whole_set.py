"""A metric of a whole set is not the mean of those of its batches."""

from functools import partial

import numpy as np
import pytest
import torch

from lehr import accuracy, on, whole
from lehr.callbacks import Metrics
from lehr.record.metrics import Meter
from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten, unflatten
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def roc_auc_score(y_true, y_score, *, sample_weight=None):
    """As scikit-learn's, for two classes: it takes arrays, the targets first."""
    assert isinstance(y_true, np.ndarray)
    assert y_score.dtype.kind == "f"
    if len(np.unique(y_true)) != 2:
        raise ValueError("Only one class present in y_true.")
    positive, negative = y_score[y_true == 1], y_score[y_true == 0]
    return (positive[:, None] > negative).mean()


def auc(pred, target):
    return roc_auc_score(target.numpy(), pred.numpy())


SCORES, LABELS = torch.tensor([0.1, 0.9, 0.6, 0.7]), torch.tensor([0, 1, 0, 1])


def test_it_is_computed_over_the_set_and_no_mean_over_batches():
    learn = tiny_learner(items=94, metrics={"auc": on(whole(roc_auc_score), lambda out: out[:, 1])})
    value = learn.fit(2).history["auc"][-1]
    x, y = learn.data.valid_ds.x, learn.data.valid_ds.y
    pred = learn.predict(x)[:, 1]
    assert value == auc(pred, y)
    batches = [(auc(p, t), len(t)) for p, t in zip(pred.split(16), y.split(16), strict=True)]
    assert value != pytest.approx(sum(a * n for a, n in batches) / len(y), abs=1e-4)  # the control


@pytest.mark.parametrize(
    "metric",
    [
        whole(roc_auc_score),
        whole(partial(roc_auc_score, sample_weight=None)),
        whole(auc),
        whole(lambda a, b: roc_auc_score(a, b), sklearn=True),
        whole(lambda y_true, pred: auc(y_true, pred), sklearn=False),
    ],
)
def test_who_comes_first_is_told_by_the_first_parameter_or_by_the_user(metric):
    metric.update(SCORES[:3], LABELS[:3])
    metric.update(SCORES[3:], LABELS[3:])
    assert metric.compute() == 1.0


def test_with_the_order_wrong_it_would_be_another_value():
    swapped = whole(lambda a, b: roc_auc_score(a, b), sklearn=False)
    swapped.update(SCORES, LABELS)
    with pytest.raises(AssertionError):
        swapped.compute()


def test_what_is_kept_is_a_detached_copy_on_the_cpu():
    seen = []

    def look(pred, target):
        seen.append((pred, target))
        return 0.0

    metric = whole(look)
    pred, target = {"a": torch.ones(2, requires_grad=True) * 3}, torch.zeros(2)
    metric.update(pred, target)
    with torch.no_grad():
        pred["a"].mul_(0)
    target.add_(1)
    metric.update({"a": torch.ones(1)}, torch.zeros(1))
    metric.compute()
    (kept, targets) = seen[0]
    assert kept["a"].tolist() == [3.0, 3.0, 1.0]
    assert not kept["a"].requires_grad
    assert targets.tolist() == [0.0, 0.0, 0.0]


def test_bfloat16_reaches_numpy_as_float32():
    metric = whole(roc_auc_score)
    metric.update(SCORES.bfloat16(), LABELS)
    assert metric.compute() == 1.0


def test_batches_without_targets_have_none():
    metric = whole(lambda pred, target: 0.5 if target is None else 0.0)
    metric.update(SCORES, None)
    assert metric.compute() == 0.5


def test_a_reset_forgets_everything():
    metric = whole(auc)
    metric.update(1 - SCORES, LABELS)
    metric.reset()
    metric.update(SCORES, LABELS)
    assert metric.compute() == 1.0


def test_over_nothing_there_is_no_value():
    match = r"^auc of a whole set needs at least one batch; got none\. Call update\."
    with pytest.raises(ValueError, match=match):
        whole(auc).compute()
    assert Meter(whole(auc)).values() == {"auc": None}


def test_it_has_the_name_of_the_function():
    assert Meter(whole(auc)).names == ["auc"]
    assert repr(whole(auc)) == "whole(auc)"


def test_what_was_kept_can_be_saved():
    first, second = whole(auc), whole(auc)
    first.update(SCORES[:2], LABELS[:2])
    second.update(1 - SCORES, LABELS)
    state = capture({"it": first})["it"]
    second.load_state_dict(unflatten(*flatten({"it": state}))["it"])
    assert first_difference(state, capture({"it": second})["it"]) is None
    for metric in (first, second):
        metric.update(SCORES[2:], LABELS[2:])
    assert first.compute() == second.compute() == 1.0


def test_the_training_set_can_be_measured_too():
    metric = on(whole(auc), lambda out: out[:, 1])
    learn = tiny_learner([Metrics({"auc": metric}, train=True)])
    row = learn.fit(1).history.rows[0]
    assert 0 <= row["train_auc"] <= 1
    assert row["train_auc"] != row["auc"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (3, r"^whole takes a function \(pred, target\) -> value; got 3\. Write e\.g\. whole"),
        (dict, r"^whole takes a function \(pred, target\) -> value; got <class 'dict'>"),
        (
            on(accuracy, lambda out: out),
            r"got on\(accuracy, …\)\. Write on\(whole\(accuracy\), …\)",
        ),
        (
            Meter(whole(auc)).metric,
            r"^whole takes a function; got a Whole, which gathers by itself",
        ),
    ],
)
def test_what_is_no_function_of_a_set_is_refused(given, match):
    with pytest.raises(TypeError, match=match):
        whole(given)

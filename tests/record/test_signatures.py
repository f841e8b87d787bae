"""How a metric is called, and what it is called."""

from functools import partial

import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from lehr.record.signatures import is_sklearns, name_of, parameters_of, takes, targets_first


def score(y_true, y_score, average=None): ...
def rand(labels_true, labels_pred): ...
def own(pred, target): ...


def test_a_function_a_partial_and_an_object_have_names():
    assert name_of(own) == "own"
    assert name_of(partial(partial(score, average=1), average=2)) == "score"
    assert name_of(MulticlassAccuracy(2)) == "multiclass_accuracy"
    assert name_of(nn.MSELoss()) == "mse_loss"


def test_the_first_parameter_tells_whether_the_targets_come_first():
    assert [targets_first(f) for f in (score, partial(score, average=1), rand)] == [True] * 3
    assert not any(targets_first(f) for f in (own, min, torch.add, nn.MSELoss(), lambda: 0))


def test_a_function_of_scikit_learns_is_known_by_its_module():
    def auc(x, y): ...

    auc.__module__ = "sklearn.metrics._ranking"
    assert is_sklearns(auc)
    assert is_sklearns(partial(auc, y=1))
    auc.__module__ = "sklearnish"
    assert not is_sklearns(auc)


def test_what_cannot_be_known_is_taken_to_fit():
    assert takes(own, 2)
    assert not takes(own, 1)
    assert takes(torch.add, 2)  # has no signature
    assert takes(lambda *args: 0, 7)
    assert parameters_of(own) == "(pred, target)"

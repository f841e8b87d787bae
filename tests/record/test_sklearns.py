"""Functions that are called as scikit-learn's metrics are."""

from functools import partial

import torch
from torch import nn

from lehr.record.sklearns import is_sklearns, targets_first


def score(y_true, y_score, average=None): ...
def rand(labels_true, labels_pred): ...
def own(pred, target): ...


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

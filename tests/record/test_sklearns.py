"""Functions that are called as scikit-learn's metrics are."""

from functools import partial
from types import ModuleType

import pytest
import torch
from torch import nn

from lehr.record.sklearns import is_sklearns, no_mean, targets_first


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


# Which are no mean over batches -------------------------------------------------------------------


def of(module, name):
    """A function as that module would hold it."""

    def function(pred, target, average="macro"): ...

    function.__name__, function.__module__ = name, module
    return function


roc_auc_score = of("sklearn.metrics._ranking", "roc_auc_score")
accuracy_score = of("sklearn.metrics._classification", "accuracy_score")
multiclass_f1_score = of("torchmetrics.functional.classification.f_beta", "multiclass_f1_score")
metrics = ModuleType("metrics")
metrics.roc_auc_score, metrics.accuracy_score = roc_auc_score, accuracy_score
package = ModuleType("package")
package.metrics = metrics


def through_another(pred, target):
    return roc_auc_score(target, pred)


NO_MEANS = {
    "itself": multiclass_f1_score,
    "partial": partial(multiclass_f1_score, average="macro"),
    "lambda": lambda p, y: roc_auc_score(y, p[:, 1]),
    "in a module": lambda p, y: metrics.roc_auc_score(y, p[:, 1]),
    "in a package": lambda p, y: package.metrics.roc_auc_score(y, p[:, 1]),
    "through another": lambda p, y: through_another(p, y),
    "closure": (lambda f: lambda p, y: f(y, p))(roc_auc_score),
}
MEANS = {
    "a mean": accuracy_score,
    "a mean in a lambda": lambda p, y: accuracy_score(y, p.argmax(1)),
    "a mean in a module": lambda p, y: metrics.accuracy_score(y, p),
    "micro": lambda p, y: multiclass_f1_score(p, y, average="micro"),
    "micro partial": partial(multiclass_f1_score, average="micro"),
    "another's": of("my.metrics", "roc_auc_score"),
    "of torch": lambda p, y: torch.nn.functional.mse_loss(p, y),
}


@pytest.mark.parametrize("function", NO_MEANS.values(), ids=NO_MEANS)
def test_what_no_mean_over_batches_gives_is_told_from_what_a_function_calls(function):
    assert no_mean(function) in ("roc_auc_score", "multiclass_f1_score")


def test_a_variable_without_a_value_tells_nothing():
    def function(pred, target):
        return later(target, pred)

    assert no_mean(function) is None
    later = roc_auc_score
    assert no_mean(function) == "roc_auc_score"


@pytest.mark.parametrize("function", MEANS.values(), ids=MEANS)
def test_what_a_mean_over_batches_gives_is_not_taken_for_another(function):
    assert no_mean(function) is None


def test_the_functions_of_torchmetrics_and_scikit_learn_are_known():
    functional = pytest.importorskip("torchmetrics.functional")
    assert no_mean(lambda p, y: functional.auroc(p, y, task="binary")) == "auroc"
    assert no_mean(functional.classification.binary_auroc) == "binary_auroc"
    assert no_mean(functional.mean_squared_error) is None
    theirs = pytest.importorskip("sklearn.metrics")
    assert no_mean(lambda p, y: theirs.roc_auc_score(y, p)) == "roc_auc_score"
    assert no_mean(lambda p, y: theirs.accuracy_score(y, p)) is None

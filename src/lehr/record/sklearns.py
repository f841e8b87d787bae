"""Metrics of other packages: which take the targets first, and which are no mean."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lehr.base.names import name_of
from lehr.base.signatures import signature_of, variables_of

_TARGETS = ("y_true", "labels_true")  # as scikit-learn's metrics name their first argument
_HOMES = (
    *("sklearn.metrics._", "sklearn.metrics.cluster."),
    *("torchmetrics.functional.classification.", "torchmetrics.functional.regression."),
)
_MEANS = {
    *("accuracy", "binary_accuracy", "accuracy_score", "top_k_accuracy_score", "zero_one_loss"),
    *("exact_match", "multiclass_exact_match", "multilabel_exact_match", "hamming_loss"),
    *("hamming_distance", "binary_hamming_distance", "multilabel_hamming_distance"),
    *("hinge_loss", "binary_hinge_loss", "multiclass_hinge_loss", "log_loss", "brier_score_loss"),
    *("mean_squared_error", "mean_absolute_error", "mean_squared_log_error", "log_cosh_error"),
    *("mean_absolute_percentage_error", "symmetric_mean_absolute_percentage_error"),
    *("mean_pinball_loss", "mean_poisson_deviance", "mean_gamma_deviance"),
    *("mean_tweedie_deviance", "tweedie_deviance_score", "kl_divergence", "cosine_similarity"),
}  # each is a mean over items


def targets_first(function: Callable[..., Any]) -> bool:
    """Whether a function takes the targets before the predictions, as scikit-learn's metrics do.

    Its first parameter tells: ``y_true`` or ``labels_true``.

    Example:
        >>> targets_first(lambda y_true, y_score: 0), targets_first(lambda pred, target: 0)
        (True, False)
    """
    return signature_of(function).places[:1] in [(name,) for name in _TARGETS]


def is_sklearns(function: Any) -> bool:
    """Whether a function is one of scikit-learn's.

    Example:
        >>> is_sklearns(max)
        False
    """
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__module__", "")).partition(".")[0] == "sklearn"


def no_mean(function: Callable[..., Any], levels: int = 2) -> str | None:
    """The name of a metric that a function is, or calls, and that no mean over batches gives.

    Those are scikit-learn's, and those of ``torchmetrics.functional`` for classes and numbers, but
    for the means among them; one with ``average="micro"`` is taken for a mean, too. They are looked
    for among the variables of the function, and of those functions that it calls; nothing is called
    to find out.

    Example:
        >>> no_mean(lambda pred, target: (pred - target).abs().mean()) is None
        True
    """
    if _is_averaged(function):
        return None
    if str(getattr(function, "__module__", "")).startswith(_HOMES):
        name = name_of(function)
        return None if name in _MEANS else name
    if isinstance(function, partial):
        return no_mean(function.func, levels)
    if levels == 0 or not (inspect.isfunction(function) or inspect.ismethod(function)):
        return None
    found = (no_mean(inner, levels - 1) for inner in _called(function) if callable(inner))
    return next(filter(None, found), None)


def _is_averaged(function: Any) -> bool:
    """Whether it says ``average="micro"``, which counts every item alike."""
    if isinstance(function, partial):
        return "micro" in (*function.args, *function.keywords.values())
    return "micro" in getattr(getattr(function, "__code__", None), "co_consts", ())


def _called(function: Any) -> Iterator[Any]:
    """The functions that another one may call: its variables, and what it takes out of modules."""
    names = function.__code__.co_names
    try:
        known = variables_of(function)
    except ValueError:  # a variable that has no value yet
        return
    for value in known.values():
        if inspect.ismodule(value):
            inside = [vars(value).get(name) for name in names]
            yield from (vars(m).get(n) for m in inside if inspect.ismodule(m) for n in names)
            yield from inside
        else:
            yield value

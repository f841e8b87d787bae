"""What a metric is called, and how it wants to be called."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from lehr.base.names import snake_case

_TARGETS = ("y_true", "labels_true")  # as scikit-learn's metrics name their first argument


def name_of(metric: Any) -> str:
    """The name of a function, or that of an object's class in snake case.

    Example:
        >>> name_of(max), name_of(partial(max, default=0)), name_of(object())
        ('max', 'max', 'object')
    """
    while isinstance(metric, partial):
        metric = metric.func
    return str(getattr(metric, "__name__", None) or snake_case(type(metric).__name__))


def parameters_of(function: Callable[..., Any]) -> str:
    """The parameters of a function as they are written.

    Example:
        >>> parameters_of(lambda pred, target: 0)
        '(pred, target)'
    """
    return str(inspect.signature(function))


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments, as far as it can be known.

    Example:
        >>> takes(lambda pred, target: 0, 2), takes(lambda output: 0, 2)
        (True, False)
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, say
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def targets_first(function: Callable[..., Any]) -> bool:
    """Whether a function takes the targets before the predictions, as scikit-learn's metrics do.

    Its first parameter tells: ``y_true`` or ``labels_true``.

    Example:
        >>> targets_first(lambda y_true, y_score: 0), targets_first(lambda pred, target: 0)
        (True, False)
    """
    try:
        return next(iter(inspect.signature(function).parameters), "") in _TARGETS
    except (TypeError, ValueError):
        return False


def is_sklearns(function: Any) -> bool:
    """Whether a function is one of scikit-learn's.

    Example:
        >>> is_sklearns(max)
        False
    """
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__module__", "")).partition(".")[0] == "sklearn"

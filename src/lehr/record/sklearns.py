"""Which functions are metrics as scikit-learn's are, called with the targets first."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lehr.base.signatures import signature_of

_TARGETS = ("y_true", "labels_true")  # as scikit-learn's metrics name their first argument


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

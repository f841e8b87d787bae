"""Metrics that see a part of the output, or of the target."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class On:
    """A metric and what it is to see; made by `on`, which see."""

    metric: Any
    """a function, an object that gathers, or another `On`"""
    select: Callable[[Any], Any] | None
    """``output -> what the metric takes for the prediction``; None: all of it"""
    target: Callable[[Any], Any] | None
    """``target -> what the metric takes for it``; None: all of it"""


def on(
    metric: Any,
    select: Callable[[Any], Any] | None = None,
    *,
    target: Callable[[Any], Any] | None = None,
) -> On:
    """A metric of a part of the output: where a model returns a dict, a tuple or an object.

    Args:
        metric: a function ``(pred, target) -> value``, an object such as any of ``torchmetrics``,
            or ``whole(function)``.
        select: ``output -> prediction``: what the metric sees of what the model returned.
        target: ``target -> target``: what it sees of the batch's target.

    Returns:
        A metric, with the name of the one that was given.

    Raises:
        TypeError: nothing is selected, or not by a function.

    Example:
        >>> from lehr import accuracy
        >>> from lehr.testing import tiny_learner
        >>> boxed = on(accuracy, lambda out: out.flip(1), target=lambda yb: 1 - yb)
        >>> scores = tiny_learner(metrics=[boxed]).validate()
        >>> scores["accuracy"] == tiny_learner(metrics=[accuracy]).validate()["accuracy"]
        True
    """
    if select is None and target is None:
        raise TypeError(
            "on takes a function that selects; got none. Write e.g. "
            'on(accuracy, lambda out: out["logits"]).'
        )
    for name, function in (("select", select), ("target", target)):
        if function is not None and not callable(function):
            raise TypeError(
                f"{name} must be a function; got {function!r}. Write e.g. "
                'on(accuracy, lambda out: out["logits"]).'
            )
    return On(metric, select, target)

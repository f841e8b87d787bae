"""Numbers that every process has a part of, as one."""

import pickle
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from lehr.engine import Engine
from lehr.errors import one_line
from lehr.record.means import Mean
from lehr.record.metric_state import syncs_itself
from lehr.record.whole_set import Whole


def merged(means: Mapping[str, Mean], engine: Engine) -> dict[str, Mean]:
    """The means over all processes, of every name that one of them has; all must ask.

    Example:
        >>> from lehr.engine import ALONE
        >>> mean = Mean()
        >>> mean.add(2.0, 3)
        >>> merged({"a": mean}, ALONE)["a"].value
        2.0
    """
    if engine.world == 1:
        return dict(means)
    sums = engine.sums({name: sums_of(mean) for name, mean in means.items()})
    return {name: mean_of(*total) for name, total in sums.items()}


def sums_of(mean: Mean) -> tuple[float, float]:
    """What a mean is made of: the weighted sum, and the weight.

    Example:
        >>> mean = Mean()
        >>> mean.add(2.0, 3); sums_of(mean)
        (6.0, 3.0)
    """
    return float(mean.total), mean.weight


def mean_of(total: float, weight: float) -> Mean:
    """The mean that is made of these.

    Example:
        >>> mean_of(6.0, 3.0).value, mean_of(0.0, 0.0).value
        (2.0, None)
    """
    mean = Mean()
    if weight:
        mean.add(total / weight, weight)
    return mean


def over_all(
    engine: Engine, values: Tensor, weights: Sequence[float]
) -> tuple[Tensor, Sequence[float]]:
    """Means over a batch, as means over the batch of all processes, and their weights.

    Args:
        engine: the processes; all must ask, for as many batches.
        values: ``(n,)``, one for each batch.
        weights: as many; a value without weight counts for nothing, nan included.

    Returns:
        values ``(n,)`` and weights; nan for a batch without weight.

    Example:
        >>> from lehr.engine import ALONE
        >>> over_all(ALONE, torch.tensor([2.0]), [3])
        (tensor([2.]), [3])
    """
    if engine.world == 1:
        return values, weights
    heavy = torch.tensor(list(weights), dtype=torch.float64)
    values = values.detach().to("cpu", torch.float64)
    total = engine.sum(torch.stack([torch.where(heavy > 0, values * heavy, 0.0), heavy]))
    return total[0] / total[1], [float(weight) for weight in total[1]]


def merge_object(metric: Any, name: str, engine: Engine) -> None:
    """Let a metric that gathers by itself have gathered what those of all processes have.

    Those of torchmetrics see to it themselves when they compute. Any other has
    ``merge_state(others)``, as ``whole(function)`` has.

    Raises:
        TypeError: it has not, or cannot be sent to other processes.

    Example:
        >>> from lehr import whole
        >>> from lehr.engine import ALONE
        >>> merge_object(whole(torch.add), "add", ALONE)
    """
    if engine.world == 1 or syncs_itself(metric):
        return
    if not hasattr(metric, "merge_state"):
        raise TypeError(
            f"the metric {name!r} gathers in each of {engine.world} processes, and cannot be "
            f"merged: {type(metric).__name__} has no merge_state(others). Add it, write a function "
            "for whole(…), or take one of torchmetrics."
        )
    if isinstance(metric, Whole):  # its function may be one that cannot be sent
        states = engine.gather(metric.state_dict())
        all_of_them = [copy(metric) for _ in states]
        for one, state in zip(all_of_them, states, strict=True):
            one.load_state_dict(state)
    else:
        all_of_them = engine.gather(_sendable(metric, name))
    first, *others = all_of_them
    vars(metric).update(vars(first))
    metric.merge_state(others)


def _sendable(metric: Any, name: str) -> Any:
    try:
        pickle.dumps(metric)
    except Exception as error:
        raise TypeError(
            f"the metric {name!r} gathers in each of several processes, and cannot be sent to the "
            f"others: {one_line(error)}. What it holds must be something that pickle knows: define "
            "its functions and classes at the top of a file, or write a function for whole(…)."
        ) from error
    return copy(metric)

"""Numbers that every process has a part of, as one."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from lehr.engine import Engine
from lehr.record.means import Mean
from lehr.record.metric_state import syncs_itself


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
    total: dict[str, Mean] = {}
    mine = {name: (float(mean.total), mean.weight) for name, mean in means.items()}
    for sums in engine.gather(mine):  # in the order of the ranks: the same bits everywhere
        for name, (added, weight) in sums.items():
            mean = total.setdefault(name, Mean())
            if weight:
                mean.add(added / weight, weight)
    return total


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
        TypeError: it has not.

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
    first, *others = engine.gather(copy(metric))
    vars(metric).update(vars(first))
    metric.merge_state(others)

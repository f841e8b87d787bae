"""A curve without most of its noise."""

from collections.abc import Sequence
from typing import cast

import torch
from torch.nn import functional


def smooth(values: Sequence[float], width: float) -> list[float]:
    """The average of each value with its neighbours on both sides, near ones more.

    The weights are those of a Gaussian. As it looks both ways, it does not lag behind, as a running
    average does. What is not finite stays out of the averages of others, and is nan itself.

    Args:
        values: at equal distances.
        width: the Gaussian's standard deviation, in values; above 0.

    Example:
        >>> [round(v, 2) for v in smooth([0.0, 0.0, 1.0, 0.0, 0.0], 1.0)]
        [0.08, 0.26, 0.4, 0.26, 0.08]
    """
    if not values:
        return []
    x = torch.tensor(values, dtype=torch.float64)
    known = x.isfinite()
    reach = min(int(3 * width) + 1, len(values))
    near = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-((near / width) ** 2) / 2)[None, None]
    both = torch.stack([torch.where(known, x, 0.0), known.double()])[:, None]
    sums = functional.conv1d(both, kernel, padding=reach)
    means = torch.where(known, sums[0, 0] / sums[1, 0], torch.nan)
    return cast(list[float], means.tolist())

"""What a run cost: seconds by part of the loop, and memory."""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lehr.base.stored import Finite, read
from lehr.callbacks import Timer
from lehr.loop.run import Run
from lehr.report.words import duration, percent

WORDS = {
    "data": "waiting for training batches",
    "forward": "forward, with the loss",
    "backward": "backward",
    "update": "the optimizer's step, and the rest of a batch",
    "validation": "validation",
    "rest": "all else, such as saving",
}
"""Each part that `lehr.callbacks.Timer` knows, for a reader."""


def costs(run: Run | None, model: nn.Module) -> dict[str, Any]:
    """What ``config.json`` keeps: ``seconds`` by part, if a `Timer` was attached, and ``memory``.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner([Timer()])
        >>> kept = costs(learn.fit(1), learn.model)
        >>> list(kept), list(kept["seconds"])[:2]
        (['seconds', 'memory'], ['data', 'forward'])
    """
    timers = [cb for cb in (run.callbacks if run else ()) if isinstance(cb, Timer)]
    seconds = getattr(timers[0], "seconds", None) if timers else None  # a fit may fail before
    return {"seconds": seconds and dict(seconds), "memory": memory(model)}


def together(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The costs of a run that was gone on with: all seconds, and the most memory of both times.

    Args:
        earlier: the configuration of before.
        now: `costs` since then.

    Example:
        >>> then, now = {"seconds": {"data": 1.0}}, {"seconds": {"data": 2.0}, "memory": {"cpu": 3}}
        >>> together(then, now)
        {'seconds': {'data': 3.0}, 'memory': {'cpu': 3.0}}
    """
    sums, most = _numbers(earlier.get("seconds")), _numbers(earlier.get("memory"))
    for part, seconds in _numbers(now.get("seconds")).items():
        sums[part] = sums.get(part, 0.0) + seconds
    for place, size in _numbers(now.get("memory")).items():
        most[place] = max(size, most.get(place, 0))
    return {"seconds": sums or None, "memory": most}


def memory(model: nn.Module) -> dict[str, int]:
    """The most bytes that this program has held so far: in main memory, and on CUDA devices.

    Where the system does not say it, it is left out.

    Example:
        >>> all(size > 0 for size in memory(nn.Linear(1, 1)).values())
        True
    """
    most: dict[str, int] = {}
    try:
        import resource
    except ImportError:  # Windows has none
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        most["main memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for device in sorted({p.device for p in model.parameters()}, key=str):
        if device.type == "cuda":
            most[str(device)] = torch.cuda.max_memory_allocated(device)
    return most


def cost_rows(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows for a table, from what a configuration keeps; what is damaged is left out.

    Example:
        >>> cost_rows({"seconds": {"data": 1.0, "backward": 3.0}, "memory": {"cuda:0": 3 << 20}})
        [('waiting for training batches', '1.00 s, 25.0 %'), ('backward', '3.00 s, 75.0 %'),
         ('the most memory, cuda:0', '3 MB')]
    """
    seconds, most = _numbers(config.get("seconds")), _numbers(config.get("memory"))
    whole = sum(seconds.values()) or 1.0
    rows = [
        (words, f"{duration(seconds[part])}, {percent(seconds[part] / whole)}")
        for part, words in WORDS.items()
        if part in seconds
    ]
    return rows + [
        (f"the most memory, {place}", f"{size / 2**20:,.0f} MB") for place, size in most.items()
    ]


def _numbers(stored: Any) -> dict[str, float]:
    try:
        numbers: dict[str, float] = read(dict[str, Finite], stored, "it")
    except (TypeError, ValueError):
        return {}
    return {name: number for name, number in numbers.items() if 0 <= number < 2**60}

"""Trainings timed beside a hand-written one, in turns in one process."""

import random
import statistics
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_SIZE = 64
HAND_WRITTEN = "hand-written"

Fit = Callable[[], object]


def new_model() -> nn.Module:
    """The lesson's, with the same weights every time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def random_data(items: int) -> tuple[Tensor, Tensor]:
    """Pictures ``(items, 784)`` and classes ``(items,)``."""
    return torch.randn(items, 784), torch.randint(10, (items,))


def steps_of(items: int, epochs: int, batch_size: int = BATCH_SIZE) -> int:
    return epochs * -(-items // batch_size)


def hand_written(
    x: Tensor,
    y: Tensor,
    make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    epochs: int,
    model: nn.Module | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    loss_func: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    predict: Callable[[Tensor], Tensor] | None = None,
) -> Fit:
    """The training as one would write it without a library; of `new_model` unless one is given.

    ``predict`` is what is called in the model's stead, such as the same model compiled.
    """
    model = new_model() if model is None else model
    predict = predict or model
    opt = make(model.parameters())

    def fit() -> None:
        for _ in range(epochs):
            for index in torch.randperm(len(x), device=x.device).split(batch_size):
                xb, yb = x.index_select(0, index), y.index_select(0, index)
                loss = loss_func(predict(xb), yb)
                loss.backward()
                opt.step()
                opt.zero_grad()

    return fit


def seconds_of(fit: Fit) -> float:
    wait_for_device()
    start = perf_counter()
    fit()
    wait_for_device()
    return perf_counter() - start


def wait_for_device() -> None:
    """Until a GPU, if one is in use, has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def in_turns(
    variants: dict[str, Fit], repeats: int, timed: Callable[[Any], float] = seconds_of
) -> dict[str, list[float]]:
    """The seconds of every repeat of each variant; each repeat has a fresh random order."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name in random.sample(list(variants), len(variants)):
            seconds[name].append(timed(variants[name]))
    return seconds


def returned(fit: Callable[[], float]) -> float:
    """The seconds that a fit has measured itself."""
    return fit()


def ratios(seconds: dict[str, list[float]], base: str = HAND_WRITTEN) -> dict[str, list[float]]:
    """Each time over that of the hand-written loop, or of another variant, in the same repeat."""
    ones = seconds[base]
    return {
        name: [t / b for t, b in zip(times, ones, strict=True)] for name, times in seconds.items()
    }


def microseconds_a_step(times: list[float], steps: int) -> float:
    return round(statistics.median(times) / steps * 1e6, 1)


def compared(
    seconds: dict[str, list[float]], steps: int, beside: str = HAND_WRITTEN
) -> dict[str, dict[str, Any]]:
    """Of each variant the median of its ratios, the lowest and the highest, and the time a step."""
    return {
        name: {
            "ratio": round(statistics.median(ones), 4),
            "range": [round(min(ones), 4), round(max(ones), 4)],
            "microseconds_a_step": microseconds_a_step(seconds[name], steps),
        }
        for name, ones in ratios(seconds, beside).items()
    }


def in_words(row: dict[str, Any]) -> str:
    """A row of `compared`, as it is printed."""
    low, high = row["range"]
    return f"{row['ratio']:6.3f} ×  [{low:.3f}, {high:.3f}] {row['microseconds_a_step']} µs a step"

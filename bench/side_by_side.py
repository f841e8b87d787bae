"""Trainings timed beside a hand-written one, in turns in one process."""

import random
import statistics
from collections.abc import Callable, Iterable
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import nn

BATCH_SIZE = 64
HAND_WRITTEN = "hand-written"

Fit = Callable[[], object]


def new_model() -> nn.Module:
    """The lesson's, with the same weights every time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def random_data(items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures ``(items, 784)`` and classes ``(items,)``."""
    return torch.randn(items, 784), torch.randint(10, (items,))


def steps_of(items: int, epochs: int) -> int:
    return epochs * -(-items // BATCH_SIZE)


def hand_written(
    x: torch.Tensor,
    y: torch.Tensor,
    make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    epochs: int,
    model: nn.Module | None = None,
) -> Fit:
    """The training as one would write it without a library; of `new_model` unless one is given."""
    model = new_model() if model is None else model
    opt = make(model.parameters())

    def fit() -> None:
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(BATCH_SIZE):
                xb, yb = x.index_select(0, index), y.index_select(0, index)
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                opt.step()
                opt.zero_grad()

    return fit


def seconds_of(fit: Fit) -> float:
    start = perf_counter()
    fit()
    return perf_counter() - start


def in_turns(variants: dict[str, Fit], repeats: int) -> dict[str, list[float]]:
    """The seconds of every repeat of each variant; each repeat has a fresh random order."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name in random.sample(list(variants), len(variants)):
            seconds[name].append(seconds_of(variants[name]))
    return seconds


def ratios(seconds: dict[str, list[float]], base: str = HAND_WRITTEN) -> dict[str, list[float]]:
    """Each time over that of the hand-written loop, or of another variant, in the same repeat."""
    ones = seconds[base]
    return {
        name: [t / b for t, b in zip(times, ones, strict=True)] for name, times in seconds.items()
    }


def microseconds_a_step(times: list[float], steps: int) -> float:
    return round(statistics.median(times) / steps * 1e6, 1)

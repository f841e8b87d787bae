"""What the scripts of all peers share: the data, the clock, and the proof that the work was done.

A script has a function a variant; each makes an `Entry` from a `Task`. `main` times the entries
beside the hand-written loop of bench/side_by_side.py, in turns in one process, and prints one line
of JSON. Nothing here knows lehr.

What is timed is a whole call of fit: so many epochs (three), with whatever the library does at the
beginning and the end of one. What is made once for a fit and could be made before, such as the
Trainer of a library that wants a new one each time, is made outside the clock. One fit of each
entry goes before and is not timed.

Proof of work: each fit starts from the same weights and must classify held-out items; reported is
the lowest accuracy of all fits. In the fit that is not timed updates are counted, and an entry that
makes more or fewer than the hand-written loop has no figures. There is no validation in a fit.
"""

import argparse
import gc
import json
import os
import platform
import random
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from side_by_side import (
    BATCH_SIZE,
    HAND_WRITTEN,
    Fit,
    hand_written,
    microseconds_a_step,
    new_model,
    ratios,
    seconds_of,
    steps_of,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LR = 0.1
HELD_OUT = 5_000
SIGNAL = 7.0

Data = tuple[torch.Tensor, torch.Tensor]


def teach(items: int, seed: int) -> Data:
    """Noise, ``(items, 784)``, with one of ten patterns in it or its negative, and which one.

    A linear model learns nothing of it, as each class has mean zero; nor does a last layer alone.
    """
    patterns = torch.randn(10, 784, generator=torch.Generator().manual_seed(1)) / 784**0.5
    of_items = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (items,), generator=of_items)
    signs = torch.randint(2, (items, 1), generator=of_items) * 2.0 - 1.0
    noise = torch.randn(items, 784, generator=of_items)
    return SIGNAL * signs * patterns[y] + noise, y


class Batches:
    """Shuffled batches of data in memory, one gather each: what the hand-written loop does."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return -(-len(self.x) // BATCH_SIZE)

    def __iter__(self) -> Iterator[Any]:
        for index in torch.randperm(len(self.x)).split(BATCH_SIZE):
            yield self.x.index_select(0, index), self.y.index_select(0, index)


@dataclass(frozen=True)
class Task:
    """What every entry has to do."""

    x: torch.Tensor
    y: torch.Tensor
    epochs: int

    @property
    def updates(self) -> int:
        return steps_of(len(self.x), self.epochs)

    def torch_loader(self) -> DataLoader[Any]:
        """PyTorch's, as it is used nearly everywhere."""
        return DataLoader(TensorDataset(self.x, self.y), batch_size=BATCH_SIZE, shuffle=True)

    def batches(self) -> Batches:
        return Batches(self.x, self.y)


@dataclass
class Entry:
    """One way to do it.

    Args:
        model: is trained, each time from the weights that it has now.
        ready: is called outside the clock, and returns the fit to be timed.
        updates: how many there were so far, where calls of ``model`` do not tell.
    """

    model: nn.Module
    ready: Callable[[], Fit]
    updates: Callable[[], int] | None = None
    start: list[tuple[nn.Parameter, torch.Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self.start = [(p, p.detach().clone()) for p in self.model.parameters()]

    def seconds(self) -> float:
        with torch.no_grad():
            for parameter, value in self.start:
                parameter.copy_(value)
        fit = self.ready()
        gc.collect()  # what others left behind is not on this one's clock
        return seconds_of(fit)

    def counted(self) -> tuple[int, float]:
        """The updates of a fit, and its seconds."""
        if self.updates is not None:
            before, seconds = self.updates(), self.seconds()
            return self.updates() - before, seconds
        calls = 0

        def count(module: nn.Module, args: Any) -> None:
            nonlocal calls
            calls += module.training

        handle = self.model.register_forward_pre_hook(count)
        try:
            seconds = self.seconds()
        finally:
            handle.remove()
        return calls, seconds

    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.model.eval()
        with torch.no_grad():
            return (self.model(x).argmax(1) == y).float().mean().item()


def by_hand(task: Task) -> Entry:
    model = new_model()
    fit = hand_written(task.x, task.y, partial(torch.optim.SGD, lr=LR), task.epochs, model)
    return Entry(model, lambda: fit)


def made(makers: dict[str, Callable[[Task], Entry]], task: Task) -> dict[str, Any]:
    """The entries after their first fit, which is not timed, or why there is none."""
    entries: dict[str, Any] = {}
    for name, make in makers.items():
        try:
            entry = make(task)
            updates, seconds = entry.counted()
        except Exception as error:
            traceback.print_exc()
            first_line = (str(error).strip().splitlines() or [""])[0].strip()
            entries[name] = {"failed": f"{type(error).__name__}: {first_line}"[:300]}
            continue
        if updates != task.updates:
            entries[name] = {"failed": f"made {updates} updates instead of {task.updates}"}
        else:
            entries[name] = entry, seconds
    return entries


def measured(
    makers: dict[str, Callable[[Task], Entry]], task: Task, held_out: Data, pairs: int
) -> dict[str, dict[str, Any]]:
    """A row for each variant and for the hand-written loop."""
    entries = made({HAND_WRITTEN: by_hand, **makers}, task)
    rows: dict[str, dict[str, Any]] = {n: e for n, e in entries.items() if isinstance(e, dict)}
    runners = {name: entry for name, entry in entries.items() if name not in rows}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    accuracies: dict[str, list[float]] = {name: [] for name in runners}
    order = random.Random()  # some libraries seed the one that all share
    for _ in range(pairs):
        for name in order.sample(list(runners), len(runners)):
            entry, _ = runners[name]
            seconds[name].append(entry.seconds())
            accuracies[name].append(entry.accuracy(*held_out))
    for name, ones in ratios(seconds).items():
        rows[name] = {
            "ratio": round(statistics.median(ones), 3),
            "range": [round(min(ones), 3), round(max(ones), 3)],
            "microseconds_a_step": microseconds_a_step(seconds[name], task.updates),
            "accuracy": round(min(accuracies[name]), 4),
            "first_fit_seconds": round(runners[name][1], 2),
        }
    return {name: rows[name] for name in entries}


def main(package: str, makers: dict[str, Callable[[Task], Entry]]) -> None:
    """Time ``makers`` in a folder of their own, and print the result as the last line."""
    parser = argparse.ArgumentParser(description=f"{package} beside the hand-written loop")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--items", type=int, default=50_048)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task, began = Task(*teach(options.items, seed=2), options.epochs), time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)  # logs and checkpoints go there
        rows = measured(makers, task, teach(HELD_OUT, seed=3), options.pairs)
        os.chdir("/")
    if torch.get_num_threads() != options.threads:
        raise SystemExit(f"{package} changed the number of threads to {torch.get_num_threads()}.")
    result = {
        "package": package,
        "version": version(package),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "options": vars(options),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "rows": rows,
    }
    print("\n" + json.dumps(result), flush=True)

"""What each technique brings at a fixed budget, over seeds: on a tenth of CIFAR-10 and of MNIST.

    python bench/ablation.py [--seeds 3] [--only cifar10] [--threads 1]
    python bench/ablation.py --render          # docs/ablation.md only, from the last results

Every row trains the same network on 5,000 images and is measured on 5,000 others; the budget is a
number of gradients, so a technique that takes two a step has half the epochs. Rows that are there
already are not measured again. Needs CIFAR-10's and MNIST's training sets in LEHR_DATA.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any

import results
import torch
from torch import Tensor, nn, optim

from lehr import Callback, DataBunch, Learner, models, seed
from lehr.callbacks import (
    EMA,
    SAM,
    SWA,
    Accumulate,
    BatchTransform,
    ClipGradients,
    CutMix,
    LabelSmoothing,
    Lookahead,
    MixedPrecision,
    MixUp,
    ParamScheduler,
    ProgressiveResizing,
    RandomErasing,
    StochasticDepth,
)
from lehr.data import DataLoader, Dataset
from lehr.data.published.cifar10 import last_of_each, read_cifar10
from lehr.data.published.mnist import read_mnist
from lehr.optim import layer_groups
from lehr.record.metrics import accuracy
from lehr.schedules import one_cycle

PAGE = Path(__file__).parents[1] / "docs" / "ablation.md"


@dataclass(frozen=True)
class Task:
    """A set of images, and what it is trained with in every row."""

    read: Callable[[], tuple[Tensor, Tensor]]
    widths: tuple[int, ...]
    stem_stride: int
    epochs: int
    moves: dict[str, Any] = field(default_factory=dict)
    """what changes its images without changing what they show"""


TASKS = {
    "cifar10": Task(lambda: read_cifar10()[0], (16, 32, 64), 1, 20, {"flip": 0.5, "crop": 4}),
    "mnist": Task(
        lambda: with_channel(*read_mnist()), (16, 32, 64), 2, 10, {"rotate": 10, "shift": 0.08}
    ),
}


@dataclass(frozen=True)
class Row:
    """A technique: callbacks made anew for each fit, and what else of the recipe it changes."""

    callbacks: Callable[[Task], list[Callback]] = lambda task: []
    lr: float = 0.005
    share: float = 1.0
    """of the epochs"""
    batch: int = 64
    scheduled: bool = True
    no_decay: bool = False


ROWS = {
    "the recipe alone": Row(),
    "without the one-cycle schedule": Row(scheduled=False, lr=0.002),
    "weight decay not on norms and biases": Row(no_decay=True),
    "flips, crops, turns (BatchTransform)": Row(lambda task: [BatchTransform(**task.moves)]),
    "cut-out of 8 pixels (BatchTransform)": Row(lambda task: [BatchTransform(cutout=8)]),
    "RandomErasing": Row(lambda task: [RandomErasing()]),
    "MixUp": Row(lambda task: [MixUp()]),
    "CutMix": Row(lambda task: [CutMix()]),
    "LabelSmoothing": Row(lambda task: [LabelSmoothing()]),
    "EMA(0.99)": Row(lambda task: [EMA(0.99)]),
    "SWA": Row(lambda task: [SWA()]),
    "Lookahead": Row(lambda task: [Lookahead()]),
    "SAM, half the epochs": Row(lambda task: [SAM()], share=0.5),
    "ClipGradients(1.0)": Row(lambda task: [ClipGradients(1.0)]),
    "StochasticDepth": Row(lambda task: [StochasticDepth()]),
    "ProgressiveResizing": Row(lambda task: [ProgressiveResizing()]),
    "MixedPrecision(bf16)": Row(lambda task: [MixedPrecision()]),
    "Accumulate(4) of batches of 16": Row(lambda task: [Accumulate(4)], batch=16),
    "moves, label smoothing, EMA together": Row(
        lambda task: [BatchTransform(**task.moves), LabelSmoothing(), EMA(0.99)]
    ),
}


def with_channel(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images[:, None], labels


@cache
def parts(name: str) -> tuple[Dataset, Dataset]:
    """5,000 images to train on and 5,000 to measure, in equal shares, as normalised floats."""
    pixels, labels = TASKS[name].read()
    rest, held = last_of_each(labels, 5_000)
    _, chosen = last_of_each(labels[rest], 5_000)
    chosen = rest[chosen]
    x = pixels.float() / 255
    mean, std = (make(x[chosen], dim=(0, 2, 3), keepdim=True) for make in (torch.mean, torch.std))
    x = (x - mean) / std
    return Dataset(x[chosen], labels[chosen]), Dataset(x[held], labels[held])


def trained(name: str, row: Row, number: int) -> tuple[float, float]:
    """Accuracy after the last epoch, and the seconds of processors."""
    task, (train, valid) = TASKS[name], parts(name)
    seed(number)
    model = models.resnet(
        train[0][0].shape[0], 10, widths=task.widths, stem_stride=task.stem_stride
    )
    held: Any = model.parameters()
    if row.no_decay:
        held = layer_groups(model, no_decay=["biases", "norms"])
    opt = optim.AdamW(held, lr=row.lr, weight_decay=0.1)
    bunch = DataBunch(DataLoader(train, row.batch, shuffle=True), DataLoader(valid, 500))
    schedule = [ParamScheduler("lr", one_cycle(row.lr))] if row.scheduled else []
    epochs = max(1, round(task.epochs * row.share))
    learn = Learner(
        model,
        opt,
        nn.functional.cross_entropy,
        bunch,
        [*schedule, *row.callbacks(task)],
        metrics=[accuracy],
        progress=False,
    )
    start = process_time()
    run = learn.fit(epochs, validate_every=f"{epochs} epochs")
    return run.history["accuracy"][-1], process_time() - start


def measured(name: str, label: str, seeds: int) -> dict[str, Any]:
    accuracies, seconds = zip(*map(partial(trained, name, ROWS[label]), range(seeds)), strict=True)
    return {
        "median": round(statistics.median(accuracies), 4),
        "all": [round(value, 4) for value in accuracies],
        "seconds": round(statistics.median(seconds), 1),
    }


INTRODUCTION = """# What each technique brings

`python bench/ablation.py` measures what is on this page and writes it. Every row trains one small
residual network (AdamW, one-cycle schedule, batches of 64) on a tenth of a training set, 5,000
images, and is measured on 5,000 others after the last epoch: {budgets}. Each technique is alone
with this recipe, with its own defaults. The budget is a number of gradients, so SAM, which takes
two a step, has half the epochs. Given are the median over {seeds} seeds with the lowest and the
highest, its distance from the recipe alone, and the processor time of the whole training as a
multiple of the recipe's.

So small a budget favours what helps at once: what makes training harder (strong augmentation,
MixUp, stochastic depth) is made for many epochs. What did not help stands here, too. Where ranges
overlap, the order may be chance.
"""


def page(rows: Mapping[str, Any]) -> str:
    """The page, with a table for each set that was measured."""
    seeds = {len(row["all"]) for row in rows.values()}
    budgets = " and ".join(f"{task.epochs} epochs of {name}" for name, task in TASKS.items())
    parts = [INTRODUCTION.format(budgets=budgets, seeds=" or ".join(map(str, sorted(seeds))))]
    for name in TASKS:
        found = {label: rows[f"{name}: {label}"] for label in ROWS if f"{name}: {label}" in rows}
        if not found:
            continue
        base = next(iter(found.values()))
        lines = [f"## {name}", "", "| | accuracy | | difference | time |", "|---|--:|---|--:|--:|"]
        for label, row in found.items():
            low, high = min(row["all"]), max(row["all"])
            away = "" if row is base else f"{(row['median'] - base['median']) * 100:+.1f}"
            times = row["seconds"] / base["seconds"]
            lines.append(
                f"| {label} | {row['median']:.3f} | {low:.3f} – {high:.3f} | {away} | {times:.2f} |"
            )
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=TASKS, help="one of the sets")
    parser.add_argument("--rows", nargs="*", choices=ROWS, help="measure these again")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = results.newest_rows("ablation")
    for name in [options.only] if options.only else TASKS:
        for label in ROWS:
            key = f"{name}: {label}"
            again = options.rows is None or label in options.rows
            if options.render or (key in rows and not (options.rows and again)) or not again:
                continue
            rows[key] = measured(name, label, options.seeds)
            print(key, rows[key], flush=True)
            results.write("ablation", rows, vars(options))
    PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()

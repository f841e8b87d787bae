"""What each technique brings at a fixed budget, over seeds: on a tenth of CIFAR-10 and of MNIST.

    python bench/ablation.py [--seeds 3] [--only cifar10] [--threads 1]
    python bench/ablation.py --steps 20      # how long all would take; writes nothing
    python bench/ablation.py --render        # docs/ablation.md only, from the last results

Every row trains the same network on 5,000 images and is measured on 5,000 others; the budget is a
number of gradients, so a technique that takes two a step has half the epochs. The results are
written after each training. Stop it whenever you like: started again with as many threads, it goes
on where it was, and `--seeds 5` adds to what three gave. Needs CIFAR-10's and MNIST's training sets
in LEHR_DATA.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any

import results
import torch
from torch import Tensor, nn, optim

from lehr import Callback, DataBunch, Learner, Run, models, seed
from lehr.callbacks import (
    EMA,
    SAM,
    SWA,
    Accumulate,
    BatchTransform,
    ClipGradients,
    CutMix,
    EMATeacher,
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
    "cifar10": Task(lambda: read_cifar10()[0], (16, 32, 64), 2, 20, {"flip": 0.5, "crop": 4}),
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
    window: int = 1
    """batches that share a step"""
    scheduled: bool = True
    no_decay: bool = False

    def epochs(self, task: Task) -> int:
        return max(1, round(task.epochs * self.share))


class CentralGradients(Callback):
    """Takes the mean of each output's weights out of their gradient (Yong et al. 2020)."""

    state = ()
    by_length = False

    def finish_grad(self, run: Run, proceed: Callable[[], None]) -> None:
        for p in run.trained_parameters():
            if p.grad is not None and p.ndim > 1:
                p.grad -= p.grad.mean(tuple(range(1, p.ndim)), keepdim=True)
        proceed()


class GradientNoise(Callback):
    """Adds noise of variance η / (1 + step)^0.55 to gradients (Neelakantan et al. 2015)."""

    state = ()
    by_length = False

    def __init__(self, eta: float) -> None:
        self.eta = eta

    def finish_grad(self, run: Run, proceed: Callable[[], None]) -> None:
        std = (self.eta / (1 + run.n_steps) ** 0.55) ** 0.5
        stream = run.stream(self.name)
        for p in run.trained_parameters():
            if p.grad is not None:
                p.grad += std * torch.randn(p.grad.shape, generator=stream)
        proceed()


BASE = "the recipe alone"
ROWS = {
    BASE: Row(),
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
    "gradients centralised (not shipped)": Row(lambda task: [CentralGradients()]),
    "noise on gradients, η = 0.01 (not shipped)": Row(lambda task: [GradientNoise(0.01)]),
    "EMATeacher(0.99)": Row(lambda task: [EMATeacher(0.99)]),
    "StochasticDepth": Row(lambda task: [StochasticDepth()]),
    "ProgressiveResizing": Row(lambda task: [ProgressiveResizing()]),
    "MixedPrecision(bf16)": Row(lambda task: [MixedPrecision()]),
    "Accumulate(4) of batches of 16": Row(lambda task: [Accumulate(4)], batch=16, window=4),
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


def trained(name: str, row: Row, number: int, steps: int | None = None) -> tuple[float, float]:
    """Accuracy after the last epoch, or after so many steps, and the seconds of processors."""
    task, (train, valid) = TASKS[name], parts(name)
    seed(number)
    model = models.resnet(
        train[0][0].shape[0], 10, widths=task.widths, stem_stride=task.stem_stride
    )
    held: Any = model.parameters()
    if row.no_decay:
        held = layer_groups(model, no_decay=["biases", "norms"])
    opt = optim.AdamW(held, lr=row.lr, weight_decay=0.1)
    if steps is not None:
        valid = Dataset(*valid[:500])  # a short try is measured on a few
    bunch = DataBunch(DataLoader(train, row.batch, shuffle=True), DataLoader(valid, 500))
    schedule = [ParamScheduler("lr", one_cycle(row.lr))] if row.scheduled else []
    epochs = row.epochs(task)
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
    if steps is None:
        run = learn.fit(epochs, validate_every=f"{epochs} epochs")
    else:
        run = learn.fit(steps=steps)
    return run.history["accuracy"][-1], process_time() - start


def measure(
    names: Sequence[str],
    labels: Sequence[str],
    seeds: int,
    rows: dict[str, Any],
    save: Callable[[], None],
) -> None:
    """Train with every seed that a row lacks, and save after each."""
    for name in names:
        for label in labels:
            row = rows.setdefault(f"{name}: {label}", {"all": [], "seconds": []})
            for number in range(len(row["all"]), seeds):
                reached, took = trained(name, ROWS[label], number)
                row["all"].append(round(reached, 4))
                row["seconds"].append(round(took, 3))
                sys.stderr.write(f"{name}: {label}, seed {number}: {reached:.4f}, {took:.0f} s\n")
                save()


def estimate(
    names: Sequence[str], labels: Sequence[str], seeds: int, steps: int, rows: Mapping[str, Any]
) -> float:
    """Seconds of processors that are still to come, from trainings of a few steps."""
    total = 0.0
    for name in names:
        for label in labels:
            row = ROWS[label]
            left = seeds - len(rows.get(f"{name}: {label}", {"all": []})["all"])
            if left <= 0:
                continue
            epoch = math.ceil(len(parts(name)[0]) / (row.batch * row.window))
            each = trained(name, row, 0, steps)[1] / steps * epoch * row.epochs(TASKS[name])
            sys.stderr.write(f"{name}: {label}: {left} times {each:.0f} s\n")
            total += left * each
    return total


INTRODUCTION = """# What each technique brings

`python bench/ablation.py` measures what is on this page and writes it. Every row trains one small
residual network (AdamW, one-cycle schedule, batches of 64) on 5,000 images of a training set, and
is measured on 5,000 others after the last epoch: {budgets}.
Each technique is alone with this recipe, with its own defaults. The budget is a number of
gradients, so SAM, which takes two a step, has half the epochs. Given are the median over {seeds}
seeds with the lowest and the highest, its distance from the recipe alone in points, and the
processor time of the whole training as a multiple of the recipe's.

So small a budget favours what helps at once: what makes training harder (strong augmentation,
MixUp, stochastic depth) is made for many epochs. What did not help stands here, too. Where ranges
overlap, the order may be chance. What is not shipped is a class of ten lines in the script.
"""


AWAITS = "awaits a run"


def page(rows: Mapping[str, Any]) -> str:
    """The page, with a row for every technique, whatever it brought."""
    seeds = sorted({len(row["all"]) for row in rows.values() if row["all"]}) or [3]
    budgets = " and ".join(f"{task.epochs} epochs of {name}" for name, task in TASKS.items())
    parts = [INTRODUCTION.format(budgets=budgets, seeds=" or ".join(map(str, seeds)))]
    for name in TASKS:
        base = _measured(rows, name, BASE)
        lines = [f"## {name}", "", "| | accuracy | | difference | time |", "|---|--:|---|--:|--:|"]
        lines += [_line(label, base, _measured(rows, name, label)) for label in ROWS]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _measured(rows: Mapping[str, Any], name: str, label: str) -> Any:
    row = rows.get(f"{name}: {label}")
    return row if row and row["all"] else None


def _line(label: str, base: Any, row: Any) -> str:
    if row is None:
        return f"| {label} | {AWAITS} | | | |"
    median, low, high = statistics.median(row["all"]), min(row["all"]), max(row["all"])
    away = times = ""
    if base is not None:
        times = f"{statistics.median(row['seconds']) / statistics.median(base['seconds']):.2f}"
        if label != BASE:
            away = f"{(median - statistics.median(base['all'])) * 100:+z.1f}"
    return f"| {label} | {median:.3f} | {low:.3f} – {high:.3f} | {away} | {times} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=TASKS, help="one of the sets")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS], help="some of the rows")
    parser.add_argument("--again", action="store_true", help="measure them anew")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, help="only train so many steps, to see how long it is")
    parser.add_argument("--render", action="store_true", help="write the page only")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    names = [options.only] if options.only else [*TASKS]
    rows = results.newest_rows("ablation", "*" if options.render else None)
    if options.again:
        for name in names:
            for label in options.rows:
                rows.pop(f"{name}: {label}", None)
    if options.steps is not None:
        seconds = estimate(names, options.rows, options.seeds, options.steps, rows)
        sys.stderr.write(f"about {seconds / 3600:.1f} hours of one core are still to come\n")
        return
    if not options.render:
        save = partial(results.write, "ablation", rows, {"seeds": options.seeds})
        measure(names, options.rows, options.seeds, rows, save)
    PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()

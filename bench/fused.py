"""Whole fits with the fused step beside the hand-written eager loop, interleaved in one process.

    python bench/fused.py [--repeats 20] [--items 50048] [--threads 1]

The lesson's model (784-50-10, batch 64) on data in memory, with SGD and with AdamW; the schedule of
lr is ours alone, as the hand-written loop has none. Every repeat trains an epoch with each variant,
in a fresh random order; reported is the median over repeats of the ratio to the hand-written loop
of the same repeat. What was compiled in the first fit is not measured, but told. The result is also
written to bench/results/fused_<hardware>_<date>.json.
"""

import argparse
import random
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter

import results
import torch
import torch.nn.functional as F
from torch import nn

from lehr import DataBunch, Learner
from lehr.callbacks import ParamScheduler
from lehr.data import DataLoader, Dataset
from lehr.schedules import one_cycle

OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD, momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=1e-3),
}


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def hand_written(x: torch.Tensor, y: torch.Tensor, make: Callable[..., torch.optim.Optimizer]):
    model = new_model()
    opt = make(model.parameters())

    def fit() -> None:
        for index in torch.randperm(len(x)).split(64):
            xb, yb = x.index_select(0, index), y.index_select(0, index)
            loss = F.cross_entropy(model(xb), yb)
            loss.backward()
            opt.step()
            opt.zero_grad()

    return fit


def ours(x: torch.Tensor, y: torch.Tensor, make, *, compile: bool, schedule: bool = False):
    data = DataBunch(DataLoader(Dataset(x, y), 64, shuffle=True))
    learn = Learner(new_model(), make, F.cross_entropy, data, progress=False, compile=compile)
    return lambda: learn.fit(1, [ParamScheduler("lr", one_cycle(0.01))] if schedule else [])


def measured(x: torch.Tensor, y: torch.Tensor, make, repeats: int) -> dict[str, dict[str, object]]:
    variants = {
        "hand-written": hand_written(x, y, make),
        "eager": ours(x, y, make, compile=False),
        "fused": ours(x, y, make, compile=True),
        "fused + one-cycle schedule": ours(x, y, make, compile=True, schedule=True),
    }
    first: dict[str, float] = {}
    for name, fit in variants.items():
        start = perf_counter()
        fit()
        first[name] = perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name in random.sample(list(variants), len(variants)):
            start = perf_counter()
            variants[name]()
            seconds[name].append(perf_counter() - start)
    steps, base, rows = -(-len(x) // 64), seconds["hand-written"], {}
    for name, times in seconds.items():
        ratios = [t / b for t, b in zip(times, base, strict=True)]
        rows[name] = {
            "ratio": round(statistics.median(ratios), 4),
            "range": [round(min(ratios), 4), round(max(ratios), 4)],
            "microseconds_a_step": round(statistics.median(times) / steps * 1e6, 1),
            "first_fit_seconds": round(first[name], 2),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--items", type=int, default=50_048)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, y = torch.randn(options.items, 784), torch.randint(10, (options.items,))
    rows = {}
    for name, make in OPTIMIZERS.items():
        for variant, row in measured(x, y, make, options.repeats).items():
            rows[f"{name}: {variant}"] = row
            low, high = row["range"]
            print(
                f"{name:<14} {variant:<28} {row['ratio']:6.3f} ×  [{low:.3f}, {high:.3f}]",
                f"{row['microseconds_a_step']} µs a step, first fit {row['first_fit_seconds']} s",
            )
    if not options.dry:
        results.write("fused", rows, vars(options))


if __name__ == "__main__":
    main()

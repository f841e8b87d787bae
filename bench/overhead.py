"""Our step beside the hand-written one, interleaved in one process.

    python bench/overhead.py [--repeats 30] [--items 50048] [--threads 1]

The lesson's model (784-50-10, batch 64, SGD) on data in memory. Every repeat trains three epochs
with each variant, in a fresh random order; reported is the median over repeats of the ratio to the
hand-written loop of the same repeat, with the middle half of the ratios. The result is also written
to bench/results/overhead_<hardware>_<date>.json.
"""

import argparse
import io
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import results
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn

import lehr
from lehr import Callback, DataBunch, Learner
from lehr.callbacks import ParamScheduler, Progress
from lehr.data import DataLoader, Dataset
from lehr.events import EVENTS
from lehr.schedules import one_cycle

EPOCHS = 3


class Silence(Callback):
    """Hears nothing."""


class Everything(Callback):
    """Hears every event and does nothing."""


for event in EVENTS:
    setattr(Everything, event, lambda self, run: None)


def model_and_opt() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def hand_written(x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    model, opt = model_and_opt()

    def fit() -> None:
        for _ in range(EPOCHS):
            for index in torch.randperm(len(x)).split(64):
                xb, yb = x.index_select(0, index), y.index_select(0, index)
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                opt.step()
                opt.zero_grad()

    return fit


def ours(x: torch.Tensor, y: torch.Tensor, *callbacks: Callback) -> Callable[[], object]:
    model, opt = model_and_opt()
    data = DataBunch(DataLoader(Dataset(x, y), 64, shuffle=True))
    learn = Learner(model, opt, F.cross_entropy, data, callbacks, progress=False)
    return lambda: learn.fit(EPOCHS)


def table() -> Progress:
    return Progress("terminal", console=Console(file=io.StringIO(), force_terminal=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--items", type=int, default=50_048)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print JSON, and write no file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, y = torch.randn(options.items, 784), torch.randint(10, (options.items,))
    variants: dict[str, Callable[[], object]] = {
        "hand-written": hand_written(x, y),
        "recorder only": ours(x, y),
        "default (recorder and live table)": ours(x, y, table()),
        "default + one-cycle schedule": ours(x, y, table(), ParamScheduler("lr", one_cycle(0.1))),
        "default + a callback on every event": ours(x, y, table(), Everything()),
        "default + four callbacks that hear nothing": ours(
            x, y, table(), *(Silence() for _ in range(4))
        ),
    }
    for fit in variants.values():
        fit()
    steps = EPOCHS * -(-options.items // 64)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.repeats):
        for name in random.sample(list(variants), len(variants)):
            start = perf_counter()
            variants[name]()
            seconds[name].append(perf_counter() - start)
    base = seconds["hand-written"]
    rows = {}
    for name, times in seconds.items():
        ratios = sorted(t / b for t, b in zip(times, base, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[name] = {
            "ratio": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "microseconds_a_step": round(statistics.median(times) / steps * 1e6, 1),
        }
        if options.json:
            continue
        print(
            f"{name:<44} {middle:6.3f} ×  [{low:.3f}, {high:.3f}]",
            f"{rows[name]['microseconds_a_step']} µs a step",
        )
    if options.json:
        print(json.dumps({"source": str(Path(lehr.__file__).parent), "rows": rows}))
    else:
        results.write("overhead", rows, vars(options))


if __name__ == "__main__":
    main()

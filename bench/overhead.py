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
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import results
import torch
import torch.nn.functional as F
from rich.console import Console
from side_by_side import (
    BATCH_SIZE,
    HAND_WRITTEN,
    hand_written,
    in_turns,
    microseconds_a_step,
    new_model,
    random_data,
    ratios,
    steps_of,
)

import lehr
from lehr import Callback, DataBunch, Learner
from lehr.callbacks import ParamScheduler, Progress, Timer
from lehr.data import DataLoader, Dataset
from lehr.events import EVENTS
from lehr.schedules import one_cycle

EPOCHS = 3
SGD = partial(torch.optim.SGD, lr=0.1)


class Silence(Callback):
    """Hears nothing."""


class Everything(Callback):
    """Hears every event and does nothing."""


for event in EVENTS:
    setattr(Everything, event, lambda self, run: None)


def ours(x: torch.Tensor, y: torch.Tensor, *callbacks: Callback) -> Callable[[], object]:
    data = DataBunch(DataLoader(Dataset(x, y), BATCH_SIZE, shuffle=True))
    model = new_model()
    opt = SGD(model.parameters())
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
    x, y = random_data(options.items)
    variants: dict[str, Callable[[], object]] = {
        HAND_WRITTEN: hand_written(x, y, SGD, EPOCHS),
        "recorder only": ours(x, y),
        "default (recorder and live table)": ours(x, y, table()),
        "default + one-cycle schedule": ours(x, y, table(), ParamScheduler("lr", one_cycle(0.1))),
        "default + Timer": ours(x, y, table(), Timer()),
        "default + a callback on every event": ours(x, y, table(), Everything()),
        "default + four callbacks that hear nothing": ours(
            x, y, table(), *(Silence() for _ in range(4))
        ),
    }
    for fit in variants.values():
        fit()
    seconds = in_turns(variants, options.repeats)
    rows = {}
    for name, ones in ratios(seconds).items():
        low, middle, high = statistics.quantiles(ones, n=4)
        rows[name] = {
            "ratio": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "microseconds_a_step": microseconds_a_step(
                seconds[name], steps_of(options.items, EPOCHS)
            ),
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

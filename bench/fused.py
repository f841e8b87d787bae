"""Whole fits with the fused step beside the hand-written eager loop, interleaved in one process.

    python bench/fused.py [--repeats 20] [--items 50048] [--threads 1]

The lesson's model (784-50-10, batch 64) on data in memory, with SGD and with AdamW; the schedule of
lr is ours alone, as the hand-written loop has none. Every repeat trains an epoch with each variant,
in a fresh random order; reported is the median over repeats of the ratio to the hand-written loop
of the same repeat. What was compiled in the first fit is not measured, but told. The result is also
written to bench/results/fused_<hardware>_<date>.json.
"""

import argparse
from collections.abc import Callable
from functools import partial

import results
import torch
import torch.nn.functional as F
from side_by_side import (
    BATCH_SIZE,
    HAND_WRITTEN,
    compared,
    hand_written,
    in_turns,
    in_words,
    new_model,
    random_data,
    seconds_of,
    steps_of,
)

from lehr import DataBunch, Learner
from lehr.callbacks import ParamScheduler
from lehr.data import DataLoader, Dataset
from lehr.schedules import one_cycle

OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD, momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=1e-3),
}


def ours(
    x: torch.Tensor,
    y: torch.Tensor,
    make: Callable[..., torch.optim.Optimizer],
    *,
    compile: bool,
    schedule: bool = False,
):
    data = DataBunch(DataLoader(Dataset(x, y), BATCH_SIZE, shuffle=True))
    kind = "always" if compile else False  # what is measured here is not to be chosen
    learn = Learner(new_model(), make, F.cross_entropy, data, progress=False, compile=kind)
    return lambda: learn.fit(1, [ParamScheduler("lr", one_cycle(0.01))] if schedule else [])


def measured(
    x: torch.Tensor, y: torch.Tensor, make: Callable[..., torch.optim.Optimizer], repeats: int
) -> dict[str, dict[str, object]]:
    variants = {
        HAND_WRITTEN: hand_written(x, y, make, epochs=1),
        "eager": ours(x, y, make, compile=False),
        "fused": ours(x, y, make, compile=True),
        "fused + one-cycle schedule": ours(x, y, make, compile=True, schedule=True),
    }
    first = {name: seconds_of(fit) for name, fit in variants.items()}
    seconds = in_turns(variants, repeats)
    rows = compared(seconds, steps_of(len(x), epochs=1))
    return {name: {**row, "first_fit_seconds": round(first[name], 2)} for name, row in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--items", type=int, default=50_048)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, y = random_data(options.items)
    rows = {}
    for name, make in OPTIMIZERS.items():
        for variant, row in measured(x, y, make, options.repeats).items():
            rows[f"{name}: {variant}"] = row
            print(
                f"{name:<14} {variant:<28} {in_words(row)},",
                f"first fit {row['first_fit_seconds']} s",
            )
    if not options.dry:
        results.write("fused", rows, vars(options))


if __name__ == "__main__":
    main()

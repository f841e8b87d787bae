"""What a checkpoint costs a run, beside torch.save and fsync of the same tensors.

    python bench/checkpoint_cost.py [--megabytes 1 10 100 400] [--repeats 15] [--folder build]

A model of so many megabytes is trained for a few steps, twice: with a `Checkpoint` that writes
while the step waits, and with ``background=True``. After each step these are timed, in a fresh
random order: what the step waits for, torch.save and fsync of the model's tensors into one new
file, and a plain copy of the tensors in memory. No write is under way while another thing is
timed. Reported are medians, and the medians of the ratios of the same step, with their quartiles.
The result is also written to bench/results/checkpoint_cost_<hardware>_<date>.json.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import results
import torch
from torch import nn

from lehr import Callback, DataBunch, Learner, Phase
from lehr.callbacks import Checkpoint
from lehr.loop.rests import Rest
from lehr.loop.run import Run

TENSORS = 16


class Large(nn.Module):
    """Has so many megabytes of tensors, and uses next to none of them."""

    def __init__(self, megabytes: float) -> None:
        super().__init__()
        self.used = nn.Parameter(torch.zeros(()))
        for number in range(TENSORS):
            size = int(megabytes * 2**20 / 4 / TENSORS)
            self.register_buffer(f"part_{number}", torch.randn(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.used


class Timed(Callback):
    """Lets a checkpoint be saved at every step but the first, among the other things timed."""

    phase = Phase.REPORT  # after the Checkpoint
    replays = False
    state = ()

    def __init__(
        self, saver: Checkpoint, others: dict[str, Callable[[], None]], tidy: Callable[[], None]
    ) -> None:
        self.saver, self.others, self.tidy = saver, others, tidy
        self.seconds: dict[str, list[float]] = {"checkpoint": [], **{name: [] for name in others}}

    def begin_fit(self, run: Run) -> None:
        visits = list(run.rests.visitors)
        run.rests.visitors[:] = [lambda run, rest: self.visit(run, rest, visits)]

    def visit(self, run: Run, rest: Rest, visits: list[Any]) -> None:
        def save() -> None:
            for visit in visits:
                visit(run, rest)

        if rest.stage != "batch" or run.n_steps < 3:  # the first times are warm-up
            save()
            self.wait()
            return
        everything = {"checkpoint": save, **self.others}
        for name in random.sample(list(everything), len(everything)):
            start = perf_counter()
            everything[name]()
            self.seconds[name].append(perf_counter() - start)
            self.wait()

    def wait(self) -> None:
        """Tidy up, until what is written in the background is there and pruned."""
        self.tidy()
        time.sleep(0.002)
        while any(self.saver.folder.glob(".[sp]*-*")):
            time.sleep(0.002)


def measure(
    megabytes: float, repeats: int, folder: Path, *, background: bool
) -> dict[str, list[float]]:
    """Seconds of each thing at each step."""
    model, written = Large(megabytes), folder / "plain.pt"

    def plain() -> None:
        with written.open("wb") as file:
            torch.save(model.state_dict(), file)
            file.flush()
            os.fsync(file.fileno())

    def copy() -> None:
        copies.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    def tidy() -> None:
        written.unlink(missing_ok=True)
        copies.clear()

    copies: list[Any] = []
    saver = Checkpoint(folder / "saved", every="1 steps", keep=2, background=background)
    timed = Timed(saver, {"torch.save and fsync": plain, "copy in memory": copy}, tidy)
    data = DataBunch([(torch.ones(1), torch.zeros(1))] * (repeats + 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.functional.mse_loss, data, [saver, timed], progress=False)
    learn.fit(1)
    return timed.seconds


def ratios(some: list[float], others: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(
        [a / b for a, b in zip(some, others, strict=True)], n=4
    )
    return {"ratio": round(middle, 2), "quartiles": [round(low, 2), round(high, 2)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1, 10, 100, 400])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--folder", default=None, help="on the disk that is to be measured")
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    for megabytes in options.megabytes:
        for background in (False, True):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                found = measure(megabytes, options.repeats, Path(folder), background=background)
            beside = "copy in memory" if background else "torch.save and fsync"
            name = f"{megabytes:g} MB, {'in the background' if background else 'the step waits'}"
            rows[name] = ratios(found["checkpoint"], found[beside]) | {
                f"{what}, milliseconds": round(1e3 * statistics.median(seconds), 2)
                for what, seconds in found.items()
            }
            row = rows[name]
            print(
                f"{name:<30} {row['ratio']:6.2f} × {beside} {row['quartiles']}",
                {what: value for what, value in row.items() if "milli" in what},
                flush=True,
            )
    if not options.dry:
        results.write("checkpoint_cost", rows, vars(options))


if __name__ == "__main__":
    main()

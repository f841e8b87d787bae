"""Whether a step, or memory, grows with what there is; and how long it is to the first step.

    python bench/scale.py [--repeats 9] [--steps 1000000] [--threads 1]
    python bench/scale.py --draw                # docs/images/scale.png only, from the last results

A model of three numbers, of which a step is nearly all overhead. A step with silent callbacks is
compared with one without, in turns. A child process makes a million recorded steps in epochs of
1,024; now and then a block of 256 steps is timed beside as many of the hand-written loop. Fresh
processes are timed from their start until their first step is done, each beside a script without
lehr. All figures are medians of ratios, with the lowest and the highest. The results are written to
bench/results/scale_*.json, and drawn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import results
import torch
import torch.nn.functional as F
from overhead import Silence
from side_by_side import (
    HAND_WRITTEN,
    compared,
    hand_written,
    in_turns,
    in_words,
    returned,
    seconds_of,
)
from torch import nn

from lehr import Callback, DataBunch, Learner, Phase, Run
from lehr.data import DataLoader, Dataset

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "scale.png"
EPOCH, BLOCK = 1024, 256
"""steps of an epoch, and of what is timed at once: the recorder sums up 256 at a time"""
WATCHED = 5
"""epochs in which blocks are timed, at each of `marks`"""
SILENT = (0, 4, 16, 64)
SGD = partial(torch.optim.SGD, lr=1e-3)

START = """
import torch
import torch.nn.functional as F
from torch import nn

x, y = torch.randn(640, 784), torch.randint(10, (640,))
model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
opt = torch.optim.SGD(model.parameters(), lr=0.1)
"""
BY_HAND = f"""{START}
for index in torch.randperm(len(x)).split(64):
    loss = F.cross_entropy(model(x[index]), y[index])
    loss.backward()
    opt.step()
    opt.zero_grad()
    print("first step done", flush=True)
"""
BY_LEHR = f"""{START}
from lehr import Callback, DataBunch, Learner
from lehr.data import DataLoader, Dataset

class Done(Callback):
    def after_step(self, run):
        print("first step done", flush=True)

data = DataBunch(DataLoader(Dataset(x, y), 64, shuffle=True))
Learner(model, opt, F.cross_entropy, data, [Done()], progress=PROGRESS).fit(1)
"""
SCRIPTS = {
    HAND_WRITTEN: BY_HAND,
    "lehr": BY_LEHR.replace("PROGRESS", "True"),
    "lehr without the live table": BY_LEHR.replace("PROGRESS", "False"),
}


def tiny_data() -> tuple[torch.Tensor, torch.Tensor]:
    """So many items as an epoch has steps."""
    return torch.randn(EPOCH, 2), torch.randn(EPOCH, 1)


def tiny_learner(*callbacks: Callback) -> Learner:
    data = DataBunch(DataLoader(Dataset(*tiny_data()), 1, shuffle=True))
    model = nn.Linear(2, 1)
    opt = SGD(model.parameters())
    return Learner(model, opt, F.mse_loss, data, callbacks, progress=False)


# -- silent callbacks


class Stopwatch(Callback):
    """The seconds of all training passes of a fit, without what is done once for all of them."""

    def begin_fit(self, run: Run) -> None:
        self.seconds = 0.0

    def begin_train(self, run: Run) -> None:
        self.start = perf_counter()

    def after_train(self, run: Run) -> None:
        self.seconds += perf_counter() - self.start


def with_silence(count: int, epochs: int) -> Callable[[], float]:
    """A fit with so many silent callbacks, which returns the seconds of its steps."""
    clock = Stopwatch()
    learn = tiny_learner(clock, *(Silence() for _ in range(count)))

    def fit() -> float:
        learn.fit(epochs)
        return clock.seconds

    return fit


def silent_rows(repeats: int, epochs: int = 4) -> dict[str, dict[str, Any]]:
    fits = {str(count): with_silence(count, epochs) for count in SILENT}
    in_turns(fits, 1, returned)
    return compared(in_turns(fits, repeats, returned), epochs * EPOCH, beside="0")


# -- a long run


def marks(epochs: int) -> list[int]:
    """Numbers of epochs, evenly spread on a logarithmic scale, the last one among them."""
    return sorted({*(n for n in (2, 10, 30, 98, 300) if n < epochs), epochs})


class Blocks(Callback):
    """Times blocks of steps beside the hand-written loop, and notes the memory after each epoch."""

    phase = Phase.REPORT

    def __init__(self, epochs: int) -> None:
        model, (x, y) = nn.Linear(2, 1), tiny_data()
        self.by_hand = hand_written(
            x[:BLOCK], y[:BLOCK], SGD, 1, model, batch_size=1, loss_func=F.mse_loss
        )
        self.watched = {
            epoch: mark for mark in marks(epochs) for epoch in range(max(1, mark - WATCHED), mark)
        }
        self.seconds: dict[int, dict[str, list[float]]] = {
            mark: {HAND_WRITTEN: [], "lehr": []} for mark in self.watched.values()
        }
        self.between: dict[int, list[float]] = {mark: [] for mark in self.seconds}
        self.megabytes: list[float] = []

    def begin_train(self, run: Run) -> None:
        self.times = None
        if (mark := self.watched.get(run.epoch)) is not None:
            self.between[mark].append(perf_counter() - self.end)
            self.times = self.seconds[mark]
            self.start = perf_counter()

    def after_batch(self, run: Run) -> None:
        if self.times is not None and run.n_steps % BLOCK == 0:
            self.times["lehr"].append(perf_counter() - self.start)
            self.times[HAND_WRITTEN].append(seconds_of(self.by_hand))
            self.start = perf_counter()

    def after_train(self, run: Run) -> None:
        self.megabytes.append(resident_megabytes())
        self.end = perf_counter()

    def rows(self) -> dict[str, dict[str, Any]]:
        """By the number of steps done."""
        return {
            str(mark * EPOCH): {
                **compared(times, BLOCK)["lehr"],
                "microseconds_between_epochs": round(
                    statistics.median(self.between[mark]) * 1e6, 1
                ),
            }
            for mark, times in self.seconds.items()
        }


def resident_megabytes() -> float:
    """Of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def long_run(steps: int) -> dict[str, Any]:
    """What the child process measures."""
    epochs = -(-steps // EPOCH)
    blocks = Blocks(epochs)
    tiny_learner(blocks).fit(epochs)
    settled, kept = epochs // 10, max(1, epochs // 200)
    return {
        "steps done": blocks.rows(),
        "memory": {
            "steps": [EPOCH * (i + 1) for i in range(0, epochs, kept)],
            "megabytes": [round(mb, 2) for mb in blocks.megabytes[::kept]],
            "growth after the first tenth": round(
                blocks.megabytes[-1] - blocks.megabytes[settled], 2
            ),
        },
    }


def in_a_child(steps: int, threads: int) -> dict[str, Any]:
    arguments = [__file__, "--long-run", "--steps", str(steps), "--threads", str(threads)]
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


# -- the first step


def seconds_to_first_step(script: str) -> float:
    """From before a process is made until it says that its first step is done."""
    start = perf_counter()
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == b"first step done":
                seconds = perf_counter() - start
                process.kill()
                return seconds
    raise RuntimeError(f"no step was made by\n{script}")


def first_step_rows(repeats: int) -> dict[str, dict[str, Any]]:
    fits = {name: partial(seconds_to_first_step, script) for name, script in SCRIPTS.items()}
    in_turns(fits, 1, returned)  # what is compiled to bytecode, and read from the disk
    return compared(in_turns(fits, repeats, returned), 1)


# -- the picture


def draw(rows: dict[str, Any], path: Path = PICTURE) -> None:
    """Three curves: a step with silent callbacks, after so many steps, and the memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.9), layout="constrained", dpi=110)
    silent, steps, memory = figure.subplots(1, 3)
    curve(silent, rows["silent callbacks"])
    silent.set(xlabel="silent callbacks", xticks=SILENT, ylabel="× a step without")
    curve(steps, rows["steps done"])
    steps.set(xlabel="steps done", xscale="log", ylabel="× a hand-written step")
    memory.plot(rows["memory"]["steps"], rows["memory"]["megabytes"])
    memory.set(xlabel="steps done", ylabel="resident, MB", xscale="log")
    memory.set_ylim(0, 1.3 * max(rows["memory"]["megabytes"]))
    for axes in (silent, steps, memory):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def curve(axes: Any, rows: dict[str, dict[str, Any]]) -> None:
    """Medians of ratios, with the lowest and the highest."""
    at = [int(name) for name in rows]
    ratios = [row["ratio"] for row in rows.values()]
    low, high = zip(*(row["range"] for row in rows.values()), strict=True)
    axes.plot(at, ratios, "o-", markersize=4)
    axes.vlines(at, low, high, alpha=0.5)
    axes.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    axes.set_ylim(0, 1.3 * max(high))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the long run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--long-run", action="store_true", help="this part alone; prints JSON")
    parser.add_argument("--draw", action="store_true", help="the picture only")
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.long_run:
        print(json.dumps(long_run(options.steps)))
        return
    if options.draw:
        rows = results.newest_rows("scale")
        for row in rows.values():
            row.pop("date")
    else:
        rows = {"silent callbacks": silent_rows(options.repeats)}
        rows["first step"] = first_step_rows(options.repeats)
        rows |= in_a_child(options.steps, options.threads)
        for part in ("silent callbacks", "steps done", "first step"):
            for name, row in rows[part].items():
                print(f"{part:<18} {name:<28} {in_words(row)}")
        print(f"growth of memory: {rows['memory']['growth after the first tenth']} MB")
    if not options.dry:
        if not options.draw:
            results.write("scale", rows, vars(options))
        draw(rows)


if __name__ == "__main__":
    main()

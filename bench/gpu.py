"""Steps on a GPU beside the hand-written loop: eager, captured and compiled, in bfloat16.

    python bench/gpu.py [--minutes 7.5] [--repeats 7] [--out FOLDER]
    python bench/gpu.py --smoke                  # the same code with few steps, without a GPU too

The lesson's MLP and CNN, a ResNet-18 on images of 32 by 32 and a small GPT, on random data that are
on the device already. Eager is beside the same loop by hand under torch.autocast, compiled (with
compile="always") beside that loop with torch.compile of the model; captured is the same as a CUDA
graph, which is lehr's way, beside torch.compile's mode "reduce-overhead". Counted is, too, how
often a step waits for the device when nothing reports: a fit of more steps is compared with one of
fewer, so that what a fit does once is left out.

What was measured is written after each row, to bench/results/gpu_*.json or to FOLDER, with the page
gpu.md in FOLDER. What fails, or would begin when the minutes are over, has a row that says so.
"""

import argparse
import runpy
import statistics
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import results
import torch
from side_by_side import (
    HAND_WRITTEN,
    Fit,
    compared,
    in_turns,
    new_model,
    random_data,
    wait_for_device,
)
from tasks import GPT, Task, random_images, random_tokens, resnet18
from torch import Tensor, nn, optim

from lehr import models
from lehr.callbacks import MixedPrecision

SPEED = Path(__file__).parents[1] / "docs" / "speed.py"
SGD = partial(optim.SGD, lr=0.01, momentum=0.9)
KINDS: dict[str, bool | str] = {"eager": False, "captured": "always", "compiled": "always"}
TASKS = {
    "MLP": Task(new_model, random_data, 64, partial(optim.SGD, lr=0.1), steps=1000),
    "CNN": Task(models.cnn, random_images, 512, SGD, steps=400),
    "small GPT": Task(
        partial(GPT, 384, 6, 6, 256),
        partial(random_tokens, length=256),
        64,
        partial(optim.AdamW, lr=1e-3),
        steps=40,
    ),
    "ResNet-18": Task(resnet18, partial(random_images, shape=(3, 32, 32)), 512, SGD, steps=30),
}
SMOKE = {
    "MLP": replace(TASKS["MLP"], steps=8),
    "CNN": replace(TASKS["CNN"], batch_size=8, steps=8),
    "small GPT": replace(
        TASKS["small GPT"],
        model=partial(GPT, 16, 1, 2, 8),
        data=partial(random_tokens, length=8),
        batch_size=2,
        steps=4,
    ),
    "ResNet-18": replace(
        TASKS["ResNet-18"], model=partial(resnet18, widths=(8, 16, 32, 64)), batch_size=2, steps=2
    ),
}
NOT_COUNTED = "no GPU"


def in_bfloat16(device: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model under autocast, as one would write it."""

    def predict(xb: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            pred = model(xb)
        return pred.float()

    return predict


def compiled(device: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.compile(in_bfloat16(device, model))


def captured(device: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.compile(in_bfloat16(device, model), mode="reduce-overhead")


WRAPS = {"eager": in_bfloat16, "captured": captured, "compiled": compiled}


def measured(task: Task, kind: str, repeats: int) -> dict[str, Any]:
    """Our step beside the hand-written one of the same kind, and how often it waits."""
    items = task.items()
    by_hand = task.by_hand(items, partial(WRAPS[kind], task.device))
    learn, by_lehr = task.by_lehr(items, [MixedPrecision("bf16")], compile=KINDS[kind])
    if learn.graphs is not None:
        learn.graphs.captures = kind == "captured"
    fits = {HAND_WRITTEN: by_hand, "lehr": by_lehr}
    first = in_turns(fits, 1)  # what is compiled, chosen and allocated
    rows = compared(in_turns(fits, repeats), task.steps)
    few = max(1, task.steps // 4)
    waits = waits_a_step(partial(learn.fit, steps=few), partial(learn.fit, steps=2 * few), few)
    return {
        **rows["lehr"],
        "microseconds_by_hand": rows[HAND_WRITTEN]["microseconds_a_step"],
        "first_fit_seconds": round(statistics.median(first["lehr"]), 2),
        "first_fit_seconds_by_hand": round(statistics.median(first[HAND_WRITTEN]), 2),
        **waits,
    }


def waits_a_step(few: Fit, many: Fit, between: int) -> dict[str, Any]:
    """How often a step waits for the device; and where, if it does."""
    if not torch.cuda.is_available():
        return {"waits_a_step": NOT_COUNTED}
    fewer, more = waits(few), waits(many)
    more.subtract(fewer)
    places = {place: count for place, count in more.most_common(5) if count > 0}
    return {"waits_a_step": round(more.total() / between, 3), "waits_at": places}


def waits(fit: Fit) -> Counter[str]:
    """Where the host waited for the device, and how often."""
    wait_for_device()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    ones = [one for one in caught if "synchronizing CUDA operation" in str(one.message)]
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in ones)


def page(result: dict[str, Any]) -> str:
    """What the section of docs/speed.md says, as a page of its own."""
    speed = runpy.run_path(str(SPEED))
    parts = ["# On a GPU\n", speed["GPU"], f"{speed['where'](result)}:\n", speed["gpu"](result)]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=7.5, help="after which nothing is begun")
    parser.add_argument("--only", choices=TASKS, nargs="+", default=[*TASKS])
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=[*KINDS])
    parser.add_argument("--out", type=Path, help="the folder for figures and page")
    parser.add_argument("--smoke", action="store_true", help="few steps, on whatever there is")
    options = parser.parse_args(arguments)
    start = perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.smoke:
        parser.error("there is no GPU that torch can use; --smoke runs the same code on the CPU")
    tasks = SMOKE if options.smoke else TASKS
    written = {**vars(options), "out": options.out and str(options.out)}
    rows: dict[str, Any] = {}
    # Eager is first: it compiles nothing, and so is done whatever the compiler makes of the rest.
    for kind in options.kinds:
        for name in options.only:
            minutes = (perf_counter() - start) / 60
            # What compiles may take two minutes where nothing was compiled before.
            if minutes > options.minutes - (0 if kind == "eager" else 2.5):
                rows[f"{name}, {kind}"] = {"failed": f"not begun after {minutes:.1f} minutes"}
                continue
            try:
                row = measured(replace(tasks[name], device=device), kind, options.repeats)
            except Exception as error:  # the others are still to be measured
                traceback.print_exc()
                row = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            rows[f"{name}, {kind}"] = row
            print(f"{(perf_counter() - start) / 60:.1f} min: {name}, {kind}: {row}", flush=True)
            if options.out or not options.smoke:
                results.write("gpu", rows, written, device=device, folder=options.out)
    text = page(results.made("gpu", rows, written, device))
    print(text)
    if options.out:
        (options.out / "gpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

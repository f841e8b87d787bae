"""Beyond the MLP: whole fits of larger models beside the hand-written loop, in one process.

    python bench/larger_models.py [--repeats 7] [--only "a small transformer"] [--threads 1]

The lesson's MLP and its CNN at batches of 512, ResNet-18 on images of CIFAR-10 (from LEHR_DATA) and
a small transformer; each eager, with compile=True, which takes the faster kind of step, and with
compile="always". Every repeat trains an epoch of some steps with each, in a fresh random order;
reported is the median over repeats of the ratio to the hand-written loop of the same repeat, with
the lowest and the highest. The result is written to bench/results/larger_models_*.json, merged with
the last one of the same hardware.
"""

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import results
import torch
from side_by_side import HAND_WRITTEN, Fit, compared, in_turns, in_words, new_model, random_data
from tasks import GPT, Task, photographs, random_images, random_tokens, resnet18
from torch import Tensor, optim

from lehr import models

KINDS: dict[str, bool | str] = {
    "eager": False,
    "compile=True": True,
    'compile="always"': "always",
}


def cifar10(items: int) -> tuple[Tensor, Tensor]:
    """Images of CIFAR-10 from everywhere in the set, as normalised floats."""
    images, labels = photographs()
    chosen = torch.arange(items) * (len(images) // items)
    x = images[chosen].float() / 255
    return (x - x.mean()) / x.std(), labels[chosen]


SGD = partial(optim.SGD, lr=0.01, momentum=0.9)
TASKS = {
    "the lesson's MLP": Task(new_model, random_data, 64, partial(optim.SGD, lr=0.1), steps=1500),
    "the lesson's CNN, batches of 512": Task(models.cnn, random_images, 512, SGD, steps=10),
    "ResNet-18 on CIFAR-10": Task(resnet18, cifar10, 8, SGD, steps=8),
    "a small transformer": Task(
        partial(GPT, 128, 4, 4, 64),
        partial(random_tokens, length=64),
        8,
        partial(optim.AdamW, lr=1e-3),
        steps=20,
    ),
}


def measured(task: Task, repeats: int) -> dict[str, dict[str, Any]]:
    """A row for each kind of loop."""
    items = task.items()
    fits = {HAND_WRITTEN: task.by_hand(items)}
    fits |= {kind: task.by_lehr(items, compile=compile)[1] for kind, compile in KINDS.items()}
    said = {kind: warnings_of(fit) for kind, fit in fits.items()}  # compiles, and chooses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they are said already
        rows = compared(in_turns(fits, repeats), task.steps)
    for kind, text in said.items():
        if text:
            rows[kind]["said"] = text
    return rows


def warnings_of(fit: Fit) -> str:
    """What a fit warns of, such as that its steps are not fused."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return "; ".join(str(one.message) for one in caught if one.category is UserWarning)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, help="in a turn; by default some for each model")
    parser.add_argument("--only", choices=TASKS, nargs="+", default=[*TASKS])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = results.newest_rows("larger_models")
    for name in options.only:
        task = TASKS[name] if options.steps is None else replace(TASKS[name], steps=options.steps)
        for kind, row in measured(task, options.repeats).items():
            rows[f"{name}: {kind}"] = row
            print(f"{name:<34} {kind:<18} {in_words(row)}", row.get("said", ""))
        if not options.dry:
            results.write("larger_models", rows, vars(options))


if __name__ == "__main__":
    main()

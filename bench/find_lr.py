"""Does the suggestion of `learn.find_lr` train well? Beside a grid of learning rates.

For each task: the suggestion of one sweep a seed, the accuracy after a whole training with it, and
the accuracies with each learning rate of a grid, all as means over the same seeds. The model is
`cnn_norm`, which is fast enough for 150 trainings; weight decay is 0.05 with AdamW and 0.0005 with
SGD. MNIST and the folder of JPEGs (500 images of each class of CIFAR-10's, unzipped) need
LEHR_DATA.
"""

import os
import tempfile
import zipfile
from pathlib import Path
from statistics import fmean
from typing import Any

import results

from lehr.callbacks import ParamScheduler
from lehr.cli.job import open_job, prepare
from lehr.cli.recipes import RECIPES
from lehr.schedules import one_cycle

SEEDS = (0, 1, 2)
GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def jpegs(folder: Path) -> Path:
    """Unzip every class's first 500 images."""
    path = Path(os.environ["LEHR_DATA"], "cifar10", "train.zip")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".jpg") and int(Path(name).stem) < 500:
                archive.extract(name, folder)
    return folder / "train"


def tasks(folder: Path) -> list[dict[str, Any]]:
    """What `lehr train` would be asked for."""
    found = [{"source": "digits", "epochs": 10, "opt": opt} for opt in ("adamw", "sgd")]
    if "LEHR_DATA" in os.environ:
        found.append({"source": "mnist", "model": "cnn_norm", "epochs": 2, "opt": "adamw"})
        photos = {"source": str(jpegs(folder)), "model": "cnn_norm", "epochs": 8}
        found += [{**photos, "opt": opt} for opt in ("adamw", "sgd")]
    return found


def job(task: dict[str, Any], seed: int) -> Any:
    """A Learner with the settings of `lehr train`, and one weight decay for each optimizer."""
    given = {**task, "lr": "1e-3", "weight_decay": 0.05 if task["opt"] == "adamw" else 5e-4}
    learn = open_job(prepare({**given, "seed": seed, "num_workers": None})).learn
    learn.progress = False
    return learn


def accuracy(task: dict[str, Any], seed: int, lr: float) -> float:
    """Of the last epoch."""
    run = job(task, seed).fit(task["epochs"], [ParamScheduler("lr", one_cycle(lr))])
    return run.history["accuracy"][-1]


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for task in tasks(Path(scratch)):
            found = [job(task, seed).find_lr().suggestion for seed in SEEDS]
            ours = fmean(accuracy(task, s, lr) for s, lr in zip(SEEDS, found, strict=True))
            grid = {lr: fmean(accuracy(task, seed, lr) for seed in SEEDS) for lr in GRID}
            best = max(grid, key=grid.__getitem__)
            rows.append(
                {
                    "data": task["source"] if task["source"] in RECIPES else "JPEG folder",
                    "opt": task["opt"],
                    "epochs": task["epochs"],
                    "suggestions": [float(f"{lr:.3g}") for lr in found],
                    "accuracy": round(ours, 4),
                    "best of grid": round(grid[best], 4),
                    "at": best,
                    "grid": {f"{lr:g}": round(value, 4) for lr, value in grid.items()},
                }
            )
            shown = {name: value for name, value in rows[-1].items() if name != "grid"}
            print("  ".join(f"{name} {value}" for name, value in shown.items()), flush=True)
    results.write("find_lr", {"rows": rows}, {"seeds": SEEDS, "grid": GRID})


if __name__ == "__main__":
    main()

"""Settings that suit a data set, used where the user names only the data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop


@dataclass(frozen=True)
class Recipe:
    """What `lehr train` does unless it is told otherwise.

    Attributes:
        lr: the highest learning rate; None finds one.
        model: None takes resnet for images and mlp for everything else.
        data: options for `lehr.data.open_data`.
        threads: at most; tiny batches gain nothing from a second one.
    """

    epochs: int
    batch_size: int
    lr: float | None = None
    model: str | None = None
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    threads: int | None = None


_IMAGES = {"augment": "shift", "num_workers": min(4, os.cpu_count() or 1)}

RECIPES = {
    "digits": Recipe(20, 32, 0.005, "cnn_norm", 2.0, threads=1),
    "mnist": Recipe(5, 128, 0.005, "resnet", 0.3, data={"normalize": True, "augment": "shift"}),
    "fashion_mnist": Recipe(10, 128, data={"normalize": True, "augment": "flip+shift"}),
    "cifar10": Recipe(10, 128, data={"augment": "flip+shift"}),
}
"""By name of a published set."""

IMAGES = Recipe(15, 64, data=_IMAGES)
TABLE = Recipe(30, 32, label_smoothing=0.0)
ARRAY = Recipe(20, 64)


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer by name, with what it is given beside lr."""

    make: type[Optimizer]
    lr: float
    """What is usual, where no sweep is worth its time."""
    weight_decay: float | None
    """None: the recipe's, which was chosen for decoupled decay."""
    options: Mapping[str, float] = field(default_factory=dict[str, float])


OPTIMIZERS = {
    "adamw": OptimizerChoice(AdamW, 1e-3, None),
    "adam": OptimizerChoice(Adam, 1e-3, 0.0),
    "nadam": OptimizerChoice(NAdam, 1e-3, 0.0),
    "rmsprop": OptimizerChoice(RMSprop, 1e-3, 0.0),
    "sgd": OptimizerChoice(SGD, 1e-2, 5e-4, {"momentum": 0.9}),
}


def recipe_for(source: str) -> Recipe:
    """The recipe for a data set's name or path.

    Example:
        >>> recipe_for("digits").model, recipe_for("people.csv") == TABLE
        ('cnn_norm', True)
    """
    if source in RECIPES:
        return RECIPES[source]
    return {"table": TABLE, "array": ARRAY, "image": IMAGES}[kind_of(source)]


def kind_of(source: str) -> str:
    """The kind of preparation that data of this name or path get.

    Example:
        >>> kind_of("mnist"), kind_of("people.csv"), kind_of("photos")
        ('image', 'table', 'image')
    """
    kinds = {".csv": "table", ".tsv": "table", ".npz": "array"}
    return kinds.get(Path(source).suffix.lower(), "image")

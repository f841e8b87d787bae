"""A model and its preparation, back from a run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from lehr import DataBunch, Learner
from lehr.cli.job import known, learner
from lehr.cli.recipes import OPTIMIZERS
from lehr.data import preparation_from
from lehr.data.preparation import Preparation
from lehr.models import build, is_import_path
from lehr.report import RunRecord
from lehr.state import ModelState
from lehr.types import is_mapping


@dataclass(frozen=True)
class Trained:
    """What `lehr train` made.

    Attributes:
        settings: what decided the training.
        preparation: how its items were prepared.
        model: with the weights of the run folder, in evaluation mode.
    """

    settings: Mapping[str, Any]
    preparation: Preparation
    model: nn.Module

    def learner(self, data: Any = None) -> Learner:
        """A Learner to evaluate and predict with; it shows no table."""
        settings = {**self.settings, "lr": None}
        learn = learner(settings, self.model, data or DataBunch([]))
        learn.progress = False
        return learn


def open_trained(path: Path, model: str | None = None, device: str | None = None) -> Trained:
    """Build a run's model again and load its weights; no code from the folder runs.

    Args:
        path: the run folder.
        model: the import path of the user's own model. A run folder that names one is not believed:
            whoever runs the command has to name it, too.
        device: to work on; None takes the accelerator if there is one.

    Raises:
        FileNotFoundError: it is no run folder, or has no weights.
        ValueError: it was not made by `lehr train`, is damaged, or its weights do not fit.
    """
    record = RunRecord.read(path)
    settings = cast(dict[str, Any] | None, record.config.get("settings"))
    stored = record.config.get("preparation")
    needed = ("model", "outputs", "opt", "weight_decay", "label_smoothing", "data")
    needed += ("batch_size", "items")
    if not is_mapping(settings) or any(name not in settings for name in needed):
        raise ValueError(
            f"{path} was not made by lehr train: its config.json does not say which model was "
            "trained how. Give a folder that lehr train made."
        )
    if stored is None:
        raise ValueError(
            f"{path} does not say how its data were prepared: config.json has no preparation. "
            "Give a folder that lehr train made."
        )
    if record.weights is None:
        raise FileNotFoundError(
            f"{path} has no model.safetensors: the training has not ended yet, or failed at once. "
            "Give another run."
        )
    known("optimizer", settings["opt"], OPTIMIZERS)
    preparation = preparation_from(stored)
    name: str = settings["model"]
    if is_import_path(name) and model is None:
        raise ValueError(
            f"{path} was trained with a model of your own, {name}. Give --model {name} to say that "
            "it may be imported and run, or where it is now."
        )
    if model is not None and not is_import_path(name):
        raise ValueError(f"{path} was trained with {name}, which needs no --model. Leave it out.")
    built = build(model or name, preparation.item_shape, settings["outputs"])
    _load(built, record.weights)
    return Trained({**settings, "device": device}, preparation, built.eval())


def _load(model: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # type: ignore[reportUnknownVariableType]

    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged: {error}. Train again, or restore it from a copy."
        ) from error
    try:
        ModelState(model).load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        raise ValueError(
            f"the weights in {path} do not fit the model that config.json names: "
            f"{str(error).splitlines()[-1].strip()} Was one of the two changed?"
        ) from error

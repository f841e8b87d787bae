"""A model and its preparation, back from a run folder."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from lehr import DataBunch, Learner
from lehr.base.stored import MOST, Count, Finite, Form, Index
from lehr.cli.fitting import checkpoints_of, resume_command
from lehr.cli.job import known, learner
from lehr.cli.recipes import OPTIMIZERS
from lehr.data import preparation_from
from lehr.data.preparation import Preparation
from lehr.models import build, is_import_path
from lehr.report.record import read_config
from lehr.state.disk.checkpoint_folder import CheckpointFolder, best
from lehr.state.disk.weights import load_weights
from lehr.types import is_sequence


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
        model: the import path of the user's own model. A run folder that names one is not
            trusted: the user of the command has to name it, too.
        device: to work on; None takes the accelerator if there is one.

    Raises:
        FileNotFoundError: it is no run folder, or has no weights.
        ValueError: it was not made by `lehr train`, is damaged, or its weights do not fit.
    """
    config = read_config(path)
    settings, stored = stored_settings(path, config), config.get("preparation")
    if stored is None:
        raise ValueError(
            f"{path} does not say how its data were prepared: config.json has no preparation. "
            "Give a folder that lehr train made."
        )
    weights = _weights(path, settings)
    preparation = preparation_from(stored)
    name = allowed_model(path, settings["model"], model)
    _check_outputs(path, settings["outputs"], preparation)
    config = settings.get("architecture")
    _refuse_larger(name, preparation.item_shape, settings["outputs"], weights, config)
    built = build(name, preparation.item_shape, settings["outputs"], config=config)
    _load(built, weights)
    return Trained({**settings, "device": device}, preparation, built.eval())


def stored_settings(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `lehr train` kept in a run folder.

    Args:
        path: the run folder, for the messages.
        config: what its ``config.json`` says.

    Raises:
        ValueError: `lehr train` did not make it, or it names an optimizer that there is not.
    """
    settings: Any = config.get("settings")
    try:
        _Settings.read_among(settings, "settings", at="settings")
        _Bounded.read_among(settings["data_options"], "it", at="settings.data_options")
    except ValueError as error:
        raise ValueError(
            f"{path} was not made by lehr train, or was changed since: in config.json, {error}. "
            "Give a folder that lehr train made."
        ) from None
    known("optimizer", settings["opt"], OPTIMIZERS)
    return dict(settings)


def _weights(path: Path, settings: Mapping[str, Any]) -> Path:
    """The file of a run's weights; if it was killed, that of its best checkpoint."""
    weights = path / "model.safetensors"
    if weights.is_file():
        return weights
    saved = CheckpointFolder(checkpoints_of(path)).all()
    if not saved:
        raise FileNotFoundError(
            f"{path} has no weights: the training has not ended its first epoch, or failed at once."
            " Give another run."
        )
    one = best(saved, "min") or saved[-1]
    warnings.warn(
        f"the training of {path} has not ended: its weights are those of step {one.step}, the best "
        f"so far. To go on with it: {resume_command(path, settings)}",
        stacklevel=3,
    )
    return one.path / weights.name


_Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]


_Several = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]


class _Settings(Form):
    data: str
    data_options: dict[str, Any]
    model: str
    outputs: Count
    items: tuple[Count, Count]
    batch_size: Count
    epochs: Count
    opt: str
    lr: Finite | str | None
    schedule: str
    weight_decay: Finite
    label_smoothing: _Share | None
    patience: Count | None
    device: str | None
    seed: int
    checkpoint_every: str = ""
    layer_stats: bool = False
    processes: _Several = 1
    weights: str = ""
    freeze_epochs: Index = 0
    architecture: str | None = None


class _Bounded(Form):
    """The options for data with which a run folder of unknown origin could do harm."""

    num_workers: Annotated[int, Meta(ge=0, le=1024, description="a whole number to 1024")] = 0
    cache: Annotated[bool, Meta(description="true or false")] = False


def allowed_model(path: Path, name: str, model: str | None) -> str:
    """What to build a run's model from: the user's own is imported only if they name it again.

    Args:
        path: the run folder, for the messages.
        name: what it says.
        model: what the user says.

    Raises:
        ValueError: they do not name their model, or name one where there is nothing to name.
    """
    if is_import_path(name) and model is None:
        raise ValueError(
            f"{path} was trained with a model of your own, {name}. Give --model {name} to say that "
            "it may be imported and run, or where it is now."
        )
    if model is not None and not is_import_path(name):
        raise ValueError(f"{path} was trained with {name}, which needs no --model. Leave it out.")
    return model or name


def _check_outputs(path: Path, outputs: int, preparation: Preparation) -> None:
    """Demand that what a model predicts is what the preparation has names or units for."""
    scale: Any = preparation.to_dict().get("target_mean", 0.0)
    known = len(preparation.classes) or (len(scale) if is_sequence(scale) else 1)
    if outputs != known:
        raise ValueError(
            f"{path} contradicts itself: in config.json, settings.outputs is {outputs:,}, but the "
            f"preparation has {known:,}. Was one of the two changed?"
        )


def _refuse_larger(
    name: str, shape: Sequence[int], outputs: int, weights: Path, config: str | None
) -> None:
    """Refuse a model that its weights cannot fill, before there is memory for it."""
    try:
        with torch.device("meta"):
            built = build(name, shape, outputs, config=config)
            numbers = sum(p.numel() for p in built.parameters())
    except Exception as error:
        if is_import_path(name):
            return  # the user's own; it may look at its numbers, and there are none
        if name.startswith("timm:") and isinstance(error, (RuntimeError, NotImplementedError)):
            return  # so may timm's, whose sizes are those of its list
        if not isinstance(error, RuntimeError):
            raise
        numbers = MOST  # torch cannot even count them
    if numbers > max(weights.stat().st_size, _SMALL):
        raise ValueError(
            f"the weights in {weights} do not fit the model that config.json names: {name} for "
            f"items of shape {tuple(shape)} and {outputs} outputs has {numbers:,} numbers, and the "
            f"file {weights.stat().st_size:,} bytes. Was one of the two changed?"
        )


_SMALL = 1 << 24  # numbers that any machine has memory for


def _load(model: nn.Module, path: Path) -> None:
    if differences := load_weights(model, path, strict=False):
        raise ValueError(
            f"the weights in {path} do not fit the model that config.json names.\n{differences}\n"
            "Was one of the two changed?"
        )


class Answering(nn.Module):
    """A model whose output is what `lehr predict` prints.

    Example:
        >>> from lehr.data.images.preparation import ImagePreparation
        >>> preparation = ImagePreparation(("cat", "dog"), "L", (1, 3))
        >>> Answering(nn.Identity(), preparation)(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.model, self.preparation = model, preparation

    def forward(self, xb: Tensor) -> Any:
        """Probabilities of classes, or numbers in the units of the target."""
        pred: Tensor = self.model(xb)
        if self.preparation.classes:
            return pred.softmax(1)
        return self.preparation.answers(pred).flatten(1)

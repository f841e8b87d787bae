"""``--weights``: trainings that begin with weights that were trained for something else."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lehr.base.paths import path_of
from lehr.cli.recipes import kind_of
from lehr.data import preparation_from
from lehr.data.images.preparation import ImagePreparation
from lehr.data.published.catalog import SOURCES
from lehr.errors import did_you_mean, said
from lehr.models import Pretrained, build, heads, is_import_path, is_packaged, load_body, pretrained
from lehr.report.record import read_config
from lehr.schedules import Schedule
from lehr.schedules.text import parse_schedule
from lehr.transfer import tuning_schedule
from lehr.types import is_mapping

EPOCHS, FREEZE_EPOCHS, WEIGHT_DECAY = 5, 1, 0.05
"""What is usual in fine-tuning; the first of the epochs trains the head alone."""

OWN, NONE = "pretrained", "none"
"""Words for ``--weights``: those of the model's package, and random ones."""

_SMALL_SETS = (64, 64)  # what the images of named sets, of 8 to 32 pixels, are enlarged to


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        model: its name; None if it is left open.
        weights: a path, ``"pretrained"``, or None for random ones.
        data_options: by which images are what the weights were trained on.
        config: what transformers builds the model from.
    """

    model: str | None
    weights: str | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config: str | None = None


def start(source: str, model: str | None, weights: str | None) -> Start:
    """Look up what ``--model`` and ``--weights`` ask for; no weights are read yet.

    Args:
        source: name or path of the data.
        model: the model's name, if one was given.
        weights: a path, ``"pretrained"``, ``"none"``, or None where nothing was given.

    Raises:
        ImportError: the model's package cannot be imported.
        ValueError: there is no such model, or the two do not go together.
        OSError: there is no such file, or transformers cannot get the model.
    """
    packaged = model is not None and is_packaged(model)
    weights = weights or (OWN if packaged else NONE)
    if Path(model or "").suffix in (".safetensors", ".pt", ".pth", ".bin"):
        raise ValueError(
            f"model must name a network; {model} is a file of weights, which does not say of which "
            f"network. Give --weights {model}, and --model with its name."
        )
    if packaged and model is not None:
        about = pretrained(model)
        first = Start(model, config=about.config)
        options = {} if weights == NONE else _options(source, about)
    else:
        first, options = Start(model), dict[str, Any]()
    if weights == NONE:
        return first
    if weights == OWN:
        if not packaged:
            raise ValueError(
                f"weights pretrained is for models of timm: and hf:, not for {model or 'others'}. "
                "Give a file of weights, or a run folder."
            )
        return Start(model, OWN, options, first.config)
    path = path_of(weights)
    if not path.exists():
        raise FileNotFoundError(f"there are no weights {weights}. {_todo(weights)}")
    if (path / "config.json").is_file():
        first, own = _of_run(path, first)
        options |= own if kind_of(source) == "image" else {}
    return Start(first.model, str(path.resolve()), options, first.config)


def _todo(weights: str) -> str:
    guess = did_you_mean(weights, [OWN, NONE])
    return f"{guess} Or give the path of a file or a run folder."


def _options(source: str, about: Pretrained) -> dict[str, Any]:
    """Options for data that are images."""
    if kind_of(source) != "image":
        return {}
    if not about.mean:
        warnings.warn(
            f"{about.name} does not say how its images are scaled (preprocessor_config.json is not "
            "there), so yours are brought to mean 0 and deviation 1 of their own.",
            stacklevel=2,
        )
    options = about.data_options
    if source in SOURCES and about.any_size and "size" in options:
        options["size"] = min(_SMALL_SETS, options["size"])
    return options


def _of_run(path: Path, first: Start) -> tuple[Start, dict[str, Any]]:
    """The model of a run folder, unless another is named, and the preparation of its images."""
    config = read_config(path)
    settings: Any = config.get("settings")
    settings = settings if is_mapping(settings) else {}
    name, architecture = settings.get("model"), settings.get("architecture")
    if first.model is None and isinstance(name, str):
        if is_import_path(name):
            raise ValueError(
                f"{path} was trained with a model of your own, {name}. Give --model {name} to say "
                "that it may be imported and run, or where it is now."
            )
        first = Start(name, config=architecture if isinstance(architecture, str) else None)
    stored = config.get("preparation")
    preparation = None if stored is None else preparation_from(stored)
    if not isinstance(preparation, ImagePreparation):
        return first, {}
    scale = [list(preparation.mean), list(preparation.std)]
    return first, {"normalize": scale, "size": list(preparation.size)}


def build_model(settings: Mapping[str, Any], shape: tuple[int, ...], *, fresh: bool) -> nn.Module:
    """The model of a training, with the weights that it begins with.

    Args:
        settings: as `lehr.cli.job.prepare` returns them, with ``outputs``.
        shape: of an item.
        fresh: read the weights; a training that goes on has its own.

    Raises:
        ValueError: weights, model and items do not go together.
        OSError: the weights cannot be had.
    """
    name, outputs, config = settings["model"], settings["outputs"], settings.get("architecture")
    weights = settings.get("weights", NONE)
    if not fresh or weights == NONE:
        return build(name, shape, outputs, config=config)
    if is_packaged(name):
        _require_images(name, shape)
        known = Pretrained(name, config=config)
        model = known.build(outputs, channels=shape[0], weights=weights == OWN or weights)
    else:
        model = build(name, shape, outputs)
        load_body(model, weights)
    _try_out(name, model, shape)
    return model


def _require_images(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise ValueError(
            f"{name} is for images (channels, height, width); the items have the shape {shape}. "
            "Give images, or --model mlp."
        )


def _try_out(name: str, model: nn.Module, shape: tuple[int, ...]) -> None:
    """Demand that the model takes such items."""
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        size = f"images of {shape[1]} by {shape[2]} pixels" if len(shape) == 3 else "such items"
        raise ValueError(
            f"{name} does not take {size}: {said(error).splitlines()[0].rstrip('.')}. Leave --size "
            "out, or give another."
        ) from error
    model.train()


def schedule_of(settings: Mapping[str, Any]) -> Schedule:
    """The factor of the rates in a fine-tuning; ``one_cycle`` is once for the head, once for all.

    Raises:
        ValueError: it cannot be read.
    """
    text, epochs, alone = (settings[name] for name in ("schedule", "epochs", "freeze_epochs"))
    if text == "one_cycle":
        return tuning_schedule(epochs - alone, alone)
    return parse_schedule(text, peak=1.0)


def tuning_settings(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a fine-tuning has other than a training of its own.

    Args:
        settings: complete, but for what is returned.
        given: what was asked for on the command line.

    Raises:
        ValueError: two settings contradict.
    """
    epochs, alone = settings["epochs"], given.get("freeze_epochs")
    alone = min(FREEZE_EPOCHS, epochs - 1) if alone is None else alone
    if alone > epochs:
        raise ValueError(
            f"--freeze-epochs must be at most the {epochs} epochs of the training; got {alone}. "
            "They are among them."
        )
    if "(" in settings["schedule"]:
        raise ValueError(
            f"schedule {settings['schedule']} says all, but in fine-tuning each layer has a rate "
            "of its own. Give a name, such as one_cycle, and --lr, the rate of the head."
        )
    return {"freeze_epochs": alone}


def in_words(settings: Mapping[str, Any], model: nn.Module) -> str | None:
    """What a training begins with, for a reader; None if that is random weights."""
    if "freeze_epochs" not in settings:
        return None
    alone, weights = settings["freeze_epochs"], settings["weights"]
    origin = f"the weights of {settings['model']}" if weights == OWN else weights
    first = f", trained alone for {alone} epoch{'s' * (alone != 1)}" if alone else ""
    return f"{origin}; the head, {', '.join(heads(model))}, is new{first}"

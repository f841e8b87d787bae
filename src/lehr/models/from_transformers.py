"""Classifiers of images of the package transformers, by name or from a folder."""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from lehr.base.paths import path_of
from lehr.errors import said
from lehr.types import is_mapping, is_sequence

_LEFT_OUT = (
    *("auto_map", "attn_implementation", "experts_implementation", "quantization_config"),
    *("use_pretrained_backbone", "backbone", "use_timm_backbone", "name_or_path"),
)
"""What would let a config fetch code, or weights, from elsewhere."""
_OF_THE_HEAD = ("architectures", "id2label", "label2id", "num_labels", "problem_type")
_REFUSED = ("timm_wrapper",)


class Logits(nn.Module):
    """A classifier of transformers that returns its scores alone.

    Args:
        network: returns an output with ``logits``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """From images ``(batch, channels, height, width)`` to scores ``(batch, classes)``."""
        return self.network(pixel_values=x).logits


def look(name: str) -> dict[str, Any]:
    """What a classifier was trained with: mean, std and size, as far as is known, and its config.

    Args:
        name: of a folder, or as the hub has it, such as ``"microsoft/resnet-18"``.

    Raises:
        ImportError: transformers cannot be imported.
        OSError: it is neither a folder nor in the cache, and cannot be had from the network.
        ValueError: it is no classifier of images.
    """
    transformers = _package(name)
    images: Any = import_module("transformers.image_processing_base")
    config = _cached_first(name, transformers.AutoConfig.from_pretrained, trust_remote_code=False)
    architecture = config.to_dict()
    try:
        read = images.ImageProcessingMixin.get_image_processor_dict
        said_of_images: Mapping[str, Any] = _cached_first(name, read)[0]
    except OSError:  # a folder that the model alone was saved in
        said_of_images = {}
    kept = _plain(architecture, (*_LEFT_OUT, *_OF_THE_HEAD))
    _check(kept, name)
    return {**_preparation(said_of_images, architecture), "config": json.dumps(kept)}


def load(name: str, classes: int) -> nn.Module:
    """A classifier with the weights of a folder or of the hub, and a new head.

    Raises:
        OSError: there are no weights, or they cannot be had from the network.
    """
    transformers = _package(name)
    from_pretrained = transformers.AutoModelForImageClassification.from_pretrained
    arguments = {"num_labels": classes, "ignore_mismatched_sizes": True}
    with _Quiet(transformers):
        network = _cached_first(name, from_pretrained, trust_remote_code=False, **arguments)
    model = Logits(network.float())
    for path in heads(model):  # one for as many classes was loaded, too
        for part in model.get_submodule(path).modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
    return model


def build(config: str, classes: int) -> nn.Module:
    """A classifier with random weights.

    Args:
        config: as `look` returns it. It may come from a file that nobody trusts: no code and no
            file that it names is read.
        classes: numbers in a prediction.

    Raises:
        ImportError: transformers cannot be imported.
        ValueError: it is no config of a classifier of images.
    """
    transformers = _package("…")
    try:
        parsed: Any = json.loads(config)
    except ValueError as error:
        raise ValueError(f"the config of the model is no JSON: {error}.") from None
    kept = _plain(parsed if is_mapping(parsed) else {}, (*_LEFT_OUT, *_OF_THE_HEAD))
    _check(kept, "…")
    kind = kept.pop("model_type")
    try:
        whole = transformers.AutoConfig.for_model(kind, **kept, num_labels=classes)
        make = transformers.AutoModelForImageClassification.from_config
        return Logits(make(whole, trust_remote_code=False))
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"transformers cannot build {kind} from its config: {error}.") from error


def heads(model: nn.Module) -> list[str]:
    """The paths of what a classifier of transformers has behind its body.

    Example:
        >>> heads(nn.Linear(1, 1))
        []
    """
    if not isinstance(model, Logits):
        return []
    body = getattr(model.network, "base_model_prefix", "")
    return [
        f"network.{name}"
        for name, part in model.network.named_children()
        if name != body and next(part.parameters(), None) is not None
    ]


def _package(name: str) -> Any:
    try:
        import transformers  # pyright: ignore[reportMissingImports]
    except Exception as error:
        raise ImportError(
            f"hf:{name} needs the package transformers, which cannot be imported here: "
            f"{said(error)}. Install it: pip install transformers"
        ) from error
    return transformers


class _Quiet:
    """A scope in which transformers does not print which weights of a head it leaves out."""

    def __init__(self, transformers: Any) -> None:
        self.log = transformers.utils.logging

    def __enter__(self) -> None:
        self.level = self.log.get_verbosity()
        self.bars = self.log.is_progress_bar_enabled()
        self.log.set_verbosity_error()
        self.log.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self.log.set_verbosity(self.level)
        if self.bars:
            self.log.enable_progress_bar()


def _cached_first(name: str, read: Callable[..., Any], **arguments: Any) -> Any:
    """What is in a folder or in the cache; only what is not there is asked for over the network."""
    is_folder = (folder := path_of(name)).is_dir()
    name = str(folder) if is_folder else name
    try:
        return read(name, local_files_only=True, **arguments)
    except OSError as error:
        if is_folder:
            raise OSError(f"hf:{name} cannot be read: {said(error).splitlines()[0]}") from error
    try:
        return read(name, **arguments)
    except OSError as error:
        raise OSError(
            f"there is no folder {name}, and transformers cannot get it from its hub: "
            f"{said(error).splitlines()[0]} It is downloaded once, which needs a network."
        ) from error


def _plain(config: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """A config, and the configs in it, without what is private or listed."""
    return {
        name: _plain(value, without) if is_mapping(value) else value
        for name, value in config.items()
        if str(name)[:1] != "_" and name not in without and not isinstance(value, torch.dtype)
    }


def _check(config: Mapping[str, Any], name: str) -> None:
    auto: Any = import_module("transformers.models.auto.modeling_auto")
    known: Mapping[str, Any] = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    kind = config.get("model_type")
    if kind in _REFUSED:
        raise ValueError(f"hf:{name} is a model of timm. Give --model timm:NAME.")
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(
            f"hf:{name} is no classifier of images that transformers has: its type is {kind!r}."
        )


def _preparation(images: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Mean, std and size, from what is said of the images; else of the model."""
    mean, std = images.get("image_mean"), images.get("image_std")
    if images and not images.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    whole = bool(mean and std)
    size = next(
        (
            pair
            for said_size in (images.get("crop_size"), images.get("size"), config.get("image_size"))
            if (pair := _pair(said_size)) is not None
        ),
        None,
    )
    return {
        "mean": tuple(mean) if whole and mean else (),
        "std": tuple(std) if whole and std else (),
        "size": size,
        "any_size": config.get("image_size") is None,
    }


def _pair(size: Any) -> tuple[int, int] | None:
    """Height and width, of the many forms in which a size is given."""
    if isinstance(size, int):
        return size, size
    if is_sequence(size) and len(size) == 2:
        return size[0], size[1]
    if is_mapping(size) and "height" in size and "width" in size:
        return size["height"], size["width"]
    if is_mapping(size) and "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return None

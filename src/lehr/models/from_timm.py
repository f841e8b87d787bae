"""Networks of the package timm, by name."""

import re
from collections.abc import Iterator
from typing import Any, cast

from torch import nn

from lehr.errors import nearest, said
from lehr.types import is_mapping

_NAME = re.compile(r"\w+(\.\w+)?")  # timm itself would read others from a folder, or the network


def look(name: str) -> dict[str, Any]:
    """What a network was trained with: mean, std, size and whether it takes any size.

    Args:
        name: as timm has it, such as ``"resnet18"`` or ``"resnet18.a1_in1k"``.

    Raises:
        ImportError: timm cannot be imported.
        ValueError: it has no network of that name.
    """
    timm = _package(name)
    cfg, why = None, "that is no name"
    if _NAME.fullmatch(name):
        try:
            cfg, why = timm.get_pretrained_cfg(name, allow_unregistered=False), "it is not there"
        except RuntimeError as error:
            why = said(error).rstrip(".")
    if cfg is None:
        guess = nearest(name, timm.list_models())
        todo = f"Did you mean timm:{guess}?" if guess else "timm.list_models() names all it has."
        raise ValueError(f"timm has no model {name!r}: {why}. {todo}")
    return {
        "mean": tuple(cfg.mean),
        "std": tuple(cfg.std),
        "size": tuple(cfg.input_size[1:]),
        "any_size": not cfg.fixed_input_size,
    }


def build(name: str, classes: int, channels: int, *, pretrained: bool = False) -> nn.Module:
    """A network of timm's with a new head.

    Args:
        name: as for `look`.
        classes: numbers in a prediction.
        channels: of an image. Where they are not those of the pretrained weights, timm adds up or
            repeats the weights of the first layer.
        pretrained: begin with timm's weights: from its cache, or else from the network.

    Raises:
        ImportError: timm cannot be imported.
        ValueError: it has no network of that name.
        OSError: it has no weights, or cannot get them.
    """
    look(name)
    timm = _package(name)
    arguments: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    if not pretrained:
        return timm.create_model(name, pretrained=False, **arguments)
    try:
        model = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # of the many libraries that a download goes through
        raise OSError(
            f"timm cannot get the weights of {name}: {said(error).splitlines()[0]} They are "
            "downloaded once, which needs a network. Or give a file with weights='…'."
        ) from error
    if timm.get_pretrained_cfg(name).num_classes == classes:  # else timm makes a new head itself
        model.reset_classifier(classes)
    return model


def heads(model: nn.Module) -> list[str]:
    """The paths of the layers that timm calls the classifier; none of a model that is not timm's.

    Example:
        >>> heads(nn.Linear(1, 1))
        []
    """
    cfg: Any = getattr(model, "pretrained_cfg", None)
    if not is_mapping(cfg) or not (classifier := cfg.get("classifier")):
        return []
    several: list[str] = [classifier] if isinstance(classifier, str) else list(classifier)
    modules = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    known = {path for path, _ in modules}
    return [path for path in several if path in known]


def _package(name: str) -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except Exception as error:  # beside ImportError, what its torchvision raises if it is unfit
        lacking = getattr(error, "name", None) or "timm"
        raise ImportError(
            f"timm:{name} needs the package timm, which cannot be imported here: {said(error)}. "
            f"Install it: pip install {lacking.partition('.')[0]}"
        ) from error
    return timm

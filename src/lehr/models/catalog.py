"""Models by name, fitted to the data."""

import math
from collections.abc import Sequence

from torch import nn

from lehr.errors import did_you_mean, positive_int
from lehr.models.convnet import cnn
from lehr.models.imported import is_import_path, load
from lehr.models.perceptron import mlp
from lehr.models.pretrained import Pretrained, is_packaged, pretrained
from lehr.models.resnet import resnet

MODELS = {
    "linear": "one linear layer",
    "mlp": "the lesson's two layers, 50 hidden units",
    "cnn": "the lesson's four convolutions; images of about 28 pixels",
    "cnn_norm": "three wider convolutions with batch normalisation; small images too",
    "resnet": "three residual stages with batch normalisation; images of any size",
}


def build(
    name: str, item_shape: Sequence[int], classes: int, *, config: str | None = None
) -> nn.Module:
    """The model called ``name`` for items of a shape.

    Args:
        name: a key of `MODELS`; or "package.module:Factory" or "path/to/file.py:Factory" for
            your own, which runs that code (see `lehr.models.load`); or "timm:NAME" or "hf:NAME"
            for a network of these packages, here with random weights (see
            `lehr.models.pretrained`).
        item_shape: shape of one input without the batch, like ``(channels, height, width)``.
        classes: numbers in a prediction.
        config: of a network of transformers; None looks it up by its name.

    Returns:
        A freshly initialised model; torch's default generator decides its weights.

    Raises:
        ValueError: no such model, or it needs images and gets something else.
        TypeError: ``classes`` is no int, or your own makes no model.
        ImportError: the package of that name is not installed.

    Example:
        >>> model = build("mlp", (1, 28, 28), 10)
        >>> sum(p.numel() for p in model.parameters())
        39760
    """
    if is_import_path(name):
        return load(name, item_shape, classes)
    classes = positive_int("classes", classes)
    if is_packaged(name):
        _require_images(name, item_shape)
        known = name.startswith("timm:") or config is not None
        network = Pretrained(name, config=config) if known else pretrained(name)
        return network.build(classes, channels=item_shape[0], weights=False)
    if name not in MODELS:
        raise ValueError(
            f"there is no model {name!r}. {did_you_mean(name, MODELS)} Your own is named by "
            "path/to/file.py:Factory."
        )
    if name in ("linear", "mlp"):
        return mlp(math.prod(item_shape), classes, hidden=(50,) if name == "mlp" else ())
    _require_images(name, item_shape)
    if name == "cnn":
        return cnn(item_shape[0], classes)
    if name == "resnet":
        pixels = min(item_shape[1:])  # from 28 on a stem of stride 2 is four times as fast
        widths = (32, 64, 128, 256) if pixels >= 64 else (32, 64, 128)
        return resnet(item_shape[0], classes, widths=widths, stem_stride=2 if pixels >= 28 else 1)
    return cnn(item_shape[0], classes, widths=(32, 64, 128), norm=True)


def _require_images(name: str, item_shape: Sequence[int]) -> None:
    if len(item_shape) != 3:
        raise ValueError(
            f"item_shape must be (channels, height, width) for {name}; got {tuple(item_shape)}. "
            "Give images, or use mlp."
        )

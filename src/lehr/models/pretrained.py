"""Networks that were trained for something else, to be trained on with a new head."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from lehr.base.paths import path_of
from lehr.errors import positive_int

PACKAGES = {"timm": "timm", "hf": "transformers"}
"""The package of each prefix of a model's name."""


def is_packaged(name: str) -> bool:
    """Whether a model's name is that of a network in a package.

    Example:
        >>> is_packaged("timm:resnet18"), is_packaged("hf:microsoft/resnet-18"), is_packaged("cnn")
        (True, True, False)
    """
    return name.partition(":")[0] in PACKAGES and ":" in name


@dataclass(frozen=True)
class Pretrained:
    """A network of a package: what it expects of images, and how it is built.

    `pretrained` makes one.

    Attributes:
        name: such as ``"timm:resnet18"``.
        mean, std: of each channel of the images that it was trained on, where white is 1; empty if
            the package does not say.
        size: height and width of these images; None if the package does not say.
        any_size: whether it takes images of other sizes, as far as is known.
        config: what transformers builds it from, as text of JSON.

    Example:
        >>> Pretrained("timm:resnet18", size=(224, 224)).data_options
        {'size': (224, 224)}
    """

    name: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    any_size: bool = True
    config: str | None = None

    @property
    def data_options(self) -> dict[str, Any]:
        """Options for `lehr.data.image_folder` and its like, by which images are what it expects.

        Example:
            >>> Pretrained("timm:resnet18", (0.5,) * 3, (0.2,) * 3, (224, 224)).data_options
            {'normalize': ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), 'size': (224, 224)}
        """
        options: dict[str, Any] = {"normalize": (self.mean, self.std)} if self.mean else {}
        return options | ({} if self.size is None else {"size": self.size})

    def build(
        self,
        classes: int,
        *,
        channels: int | None = None,
        weights: str | os.PathLike[str] | bool = True,
    ) -> nn.Module:
        """The network with a new head for so many classes.

        The head is drawn from torch's default generator.

        Args:
            classes: numbers in a prediction.
            channels: of an image; None takes those of the images that it was trained on.
            weights: True takes those of the package: from its own cache or, if they are not there,
                from the network. Or a file of weights, or a run folder, of which everything but the
                head must fit. False begins with random weights.

        Raises:
            ImportError: the package cannot be imported.
            ValueError: there is no such network, or the file does not fit.
            OSError: there are no weights, or they cannot be had.
        """
        classes, source = positive_int("classes", classes), self.name.partition(":")[2]
        channels = channels or len(self.mean) or 3
        if self.config is None:
            from lehr.models import from_timm

            model = from_timm.build(source, classes, channels, pretrained=weights is True)
        else:
            from lehr.models import from_transformers

            if channels != 3:
                raise ValueError(f"{self.name} takes images of 3 channels; got {channels}.")
            if weights is True:
                return from_transformers.load(source, classes)
            model = from_transformers.build(self.config, classes)
        if not isinstance(weights, bool):
            load_body(model, weights)
        return model


def pretrained(name: str) -> Pretrained:
    """A network of timm or transformers, looked up; no weights are read yet.

    Args:
        name: ``"timm:NAME"``, with a name that timm has; or ``"hf:NAME"``, with the name of a
            classifier of images on the hub of transformers, or the path of a folder with one.

    Returns:
        What it expects of images, with a method that builds it.

    Raises:
        ImportError: the package cannot be imported.
        ValueError: there is no such network.
        OSError: transformers cannot get it.

    Example:
        >>> pretrained("resnet18")
        Traceback (most recent call last):
            ...
        ValueError: name must begin with timm: or hf:; got 'resnet18'. Give e.g. timm:resnet18.
    """
    if not is_packaged(name):
        raise ValueError(
            f"name must begin with timm: or hf:; got {name!r}. Give e.g. timm:resnet18."
        )
    prefix, _, source = name.partition(":")
    if prefix == "timm":
        from lehr.models import from_timm

        return Pretrained(name, **from_timm.look(source))
    from lehr.models import from_transformers

    return Pretrained(name, **from_transformers.look(source))


def heads(model: nn.Module) -> list[str]:
    """The paths of what makes the prediction: what a new task needs a new one of.

    Of a model of timm or transformers it is what the package calls the classifier; of any other,
    its last layer with parameters.

    Raises:
        ValueError: the model has no parameters.

    Example:
        >>> from lehr.models import mlp
        >>> heads(mlp(64, 10))
        ['3']
    """
    from lehr.models import from_timm, from_transformers

    modules = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    layers = [
        path for path, part in modules if next(part.parameters(recurse=False), None) is not None
    ]
    if not layers:
        raise ValueError("the model has no parameters, so it has no head.")
    return from_timm.heads(model) or from_transformers.heads(model) or [layers[-1]]


def load_body(model: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Copy weights from a file into a model, but for its head, which stays as it is.

    No code in the file is run; see `lehr.Learner.load`.

    Args:
        model: with the head that is wanted.
        path: of a file of weights, or of a run folder.

    Returns:
        Names in the file that the model does not have; heads aside, there should be none.

    Raises:
        ValueError: the file is damaged, would run code, or lacks a part of the body; the model is
            then of no use.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> from lehr.models import mlp
        >>> from lehr.state.disk.weights import save_weights
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(mlp(64, 10), f"{folder}/ten.safetensors")
        ...     load_body(mlp(64, 2), f"{folder}/ten.safetensors")
        []
    """
    from lehr.state.disk.weights import load_weights

    paths = heads(model)
    before = {
        name: value.detach().clone()
        for name, value in model.state_dict().items()
        if _is_under(name, paths)
    }
    inner, prefix = _as_in(model, path_of(path))
    differences = load_weights(inner, path, strict=False)
    missing = [f"{prefix}{name}" for name in differences.missing]
    unlike = [(f"{prefix}{name}", theirs, ours) for name, theirs, ours in differences.unlike]
    lacks = [name for name in missing if not _is_under(name, paths)]
    lacks += [
        f"{name} (it is {theirs} in the file and {ours} in the model)"
        for name, theirs, ours in unlike
        if not _is_under(name, paths)
    ]
    if lacks:
        more = f" and {len(lacks) - 3} more" if len(lacks) > 3 else ""
        raise ValueError(
            f"the weights in {path} are not of this model: without its head, {', '.join(paths)}, "
            f"the file lacks {', '.join(lacks[:3])}{more}. Name the model that they are of."
        )
    model.load_state_dict({**model.state_dict(), **before})
    return [name for name in differences.unexpected if not _is_under(f"{prefix}{name}", paths)]


def _is_under(name: str, paths: list[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def _as_in(model: nn.Module, path: Path) -> tuple[nn.Module, str]:
    """The part of the model that a file's names begin at, and where in the model it is."""
    from lehr.models.from_transformers import Logits
    from lehr.state.disk.weight_files import read_weights

    if not isinstance(model, Logits):
        return model, ""
    names: Mapping[str, Any] = read_weights(path)
    ours = all(name.startswith("network.") for name in names)
    return (model, "") if ours else (model.network, "network.")

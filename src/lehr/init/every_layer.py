"""One initialisation for every layer of a model."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import cast

import torch
from torch import Generator, Tensor, nn

from lehr.base.shared_models import check_whole
from lehr.errors import did_you_mean, real_number
from lehr.init.fans import CONVOLUTIONS, Fans, fans_of
from lehr.init.orthogonal import delta_orthogonal_, orthogonal_
from lehr.init.scaled import scaled_normal_, scaled_uniform_

_SQRT2 = math.sqrt(2)
_SCALED: Mapping[str, tuple[Callable[..., Tensor], float]] = MappingProxyType(
    {  # the function, and the gain it is used with unless another is given
        "kaiming": (scaled_normal_, _SQRT2),
        "kaiming_uniform": (scaled_uniform_, _SQRT2),
        "xavier": (partial(scaled_normal_, mode="fan_mean"), 1.0),
        "xavier_uniform": (partial(scaled_uniform_, mode="fan_mean"), 1.0),
        "lecun": (scaled_normal_, 1.0),
    }
)
HOW = (*_SCALED, "orthogonal", "delta_orthogonal")
"""What `initialise` can do."""


@torch.no_grad()
def initialise(
    model: nn.Module,
    how: str = "kaiming",
    *,
    gain: float | None = None,
    gains: Mapping[str, float] | None = None,
    generator: Generator | None = None,
) -> tuple[str, ...]:
    """Draws the weights of a model's linear, convolutional and attention layers; biases become 0.

    Groups, strides and transposed convolutions count as `fans_of` says; each of attention's
    query, key and value maps is a matrix of its own. Left alone are embeddings (and what is tied
    to one), normalisations, recurrent layers, frozen parameters, and weights computed from others.
    A weight that several layers share is drawn once.

    Args:
        model: any model; in place.
        how: ``"kaiming"``, ``"kaiming_uniform"``, ``"xavier"``, ``"xavier_uniform"``, ``"lecun"``,
            ``"orthogonal"``, or ``"delta_orthogonal"``, which is ``"orthogonal"`` for layers that
            have no kernel. Without another word, draws are normal.
        gain: for all layers; None is √2 (ReLU) for Kaiming, else 1.
        gains: gains of single layers by their names in ``model.named_modules()``, for example
            ``{"head": 1.0}`` for a last layer with no activation.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        Names of the layers drawn, in the model's order.

    Raises:
        TypeError: a gain is no number.
        ValueError: no such ``how``; ``gains`` names no layer that is drawn; the model has none, or
            is sharded; a gain is not finite; `delta_orthogonal_` refuses a layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
        >>> initialise(model, gains={"2": 1.0}, generator=Generator().manual_seed(0))
        ('0', '2')
        >>> round(model[0].weight.std().item(), 4)  # √(2/784) is 0.0505
        0.0506

    Reference:
        The papers of `kaiming_normal_`, `xavier_normal_`, `lecun_normal_`, `orthogonal_` and
        `delta_orthogonal_`.
    """
    if how not in HOW:
        raise ValueError(f"how must be a known name; got {how!r}. {did_you_mean(str(how), HOW)}")
    check_whole(model, "initialise", "Call it before the model is sharded.")
    layers = drawn_layers(model)
    if not layers:
        todo = "Give a model with e.g. nn.Linear or nn.Conv2d layers that are not frozen."
        raise ValueError(f"model must have a layer to draw; got {type(model).__name__}. {todo}")
    gains = gains or {}
    for name in gains:
        if name not in layers:
            todo = did_you_mean(name, layers)
            raise ValueError(f"gains must name layers that are drawn; got {name!r}. {todo}")
    if gain is None:
        gain = _SCALED[how][1] if how in _SCALED else 1.0
    for name, layer in layers.items():
        own = real_number("gain", gains.get(name, gain))
        for matrix, fans in _matrices(layer):
            _fill(matrix, how, own, fans, getattr(layer, "groups", 1), generator)
        for bias in (getattr(layer, "bias", None), getattr(layer, "in_proj_bias", None)):
            if isinstance(bias, nn.Parameter) and bias.requires_grad:
                bias.zero_()
    return tuple(layers)


def _fill(
    matrix: Tensor, how: str, gain: float, fans: Fans, groups: int, generator: Generator | None
) -> None:
    if how in _SCALED:
        _SCALED[how][0](matrix, gain, fans=fans, generator=generator)
    elif how == "delta_orthogonal" and matrix.ndim > 2:
        delta_orthogonal_(matrix, gain, groups=groups, generator=generator)
    else:
        orthogonal_(matrix, gain, groups=groups, generator=generator)


def drawn_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that `initialise` draws, by their names, in the model's order.

    No earlier layer and no module of another kind, such as an embedding, owns their weights.

    Args:
        model: any model.

    Returns:
        Linear, convolutional and attention layers with a trainable weight of their own.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10))
        >>> list(drawn_layers(model))
        ['0', '2']
    """
    taken = {
        id(parameter)
        for module in model.modules()
        if not _stored(module)
        for parameter in module.parameters(recurse=False)
    }
    layers: dict[str, nn.Module] = {}
    for name, module in cast(Iterable[tuple[str, nn.Module]], model.named_modules()):
        stored = [id(parameter) for parameter in _stored(module)]
        if stored and taken.isdisjoint(stored):
            taken.update(stored)
            layers[name] = module
    return layers


def _stored(layer: nn.Module) -> list[nn.Parameter]:
    """The trainable weights that this layer itself stores, biases left out."""
    if isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
        names = {"weight"}
    elif isinstance(layer, nn.MultiheadAttention):
        names = {"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"}
    else:
        return []
    own = layer.named_parameters(recurse=False)
    return [parameter for name, parameter in own if name in names and parameter.requires_grad]


def _matrices(layer: nn.Module) -> Iterator[tuple[Tensor, Fans]]:
    """The weights to draw, each as one map, with what it connects."""
    for weight in _stored(layer):
        if not isinstance(layer, nn.MultiheadAttention):
            yield weight, fans_of(layer)
        elif weight is layer.in_proj_weight:
            for matrix in weight.chunk(3):
                yield matrix, fans_of(layer)
        else:
            yield weight, Fans(weight.shape[1], weight.shape[0], 1)

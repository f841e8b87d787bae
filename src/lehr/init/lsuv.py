"""Layer-sequential unit variance: weights scaled by what a batch really does to each layer."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Generator, nn
from torch.nn.parameter import is_lazy

from lehr.base.call import call
from lehr.errors import positive_int, real_number
from lehr.init.layer_calls import (
    Forward,
    first_output,
    in_call_order,
    in_training_mode,
)
from lehr.init.orthogonal import orthogonal_
from lehr.state.streams import forked
from lehr.types import Batch

Kinds = type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[nn.Module], bool]
"""Which modules are layers: classes, or a function that says so."""

_NOT_LAYERS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)


@final
@dataclass(frozen=True)
class LSUVLayer:
    """What `lsuv` did to one layer.

    Attributes:
        name: the layer's name in ``model.named_modules()``.
        passes: how often it was rescaled; 0 if it was right from the start.
        mean: mean of its output at the end; nan if it was not measured.
        std: standard deviation of its output at the end; nan if it was not measured.
        problem: why it was not brought to unit variance; empty if it was.

    Example:
        >>> LSUVLayer("0", passes=1, mean=0.0, std=1.0).converged
        True
    """

    name: str
    passes: int
    mean: float
    std: float
    problem: str = ""

    @property
    def converged(self) -> bool:
        """Whether the output has unit variance now (and mean zero, if asked for)."""
        return not self.problem


def lsuv(
    model: nn.Module,
    batch: Batch,
    *,
    tol: float = 0.01,
    max_passes: int = 10,
    mean: bool = True,
    orthogonal: bool = True,
    kinds: Kinds | None = None,
    forward: Forward | None = None,
    generator: Generator | None = None,
) -> tuple[LSUVLayer, ...]:
    """Scales each layer until its output on ``batch`` has unit variance, the first layer first.

    For each layer in the order of their first calls, while |std - 1| ≥ tol or |mean| ≥ tol ::

        weight ← weight / std        bias ← (bias - mean) / std

    Mean and standard deviation are over all numbers the layer puts out in its *first* call: its
    linear response, before any activation. One such pass is exact, so more are needed only where
    the bias is frozen or the output is not linear in the weights.

    The model runs in training mode, without gradients; random layers draw the same numbers in
    every pass. Modes, buffers (such as running means) and torch's random state are put back, and
    no hook stays, also after an error. Frozen parameters stay as they are.

    Args:
        model: any model; its layers' weights and biases change in place.
        batch: what the model is given: a tensor, a tuple of positional arguments or a dict of
            keyword arguments. Not the ``(xb, yb)`` of a loader, but its ``xb``.
        tol: how far mean and standard deviation may be off. What another batch of n numbers can
            differ is no matter here, but do not expect less than 1 / √n from it.
        max_passes: rescalings of one layer at most.
        mean: also bring the mean to zero, in layers with a bias.
        orthogonal: start from orthogonal weights and zero biases, rather than from what is there.
        kinds: which modules are layers; None is every module that owns a ``weight`` of at least
            two dimensions, embeddings and layer normalisations left out.
        forward: called as ``forward(model, batch)`` in place of the model.
        generator: where the draws of the orthogonal start come from.

    Returns:
        One `LSUVLayer` per layer, in the order of their calls. A weight that several layers share
        is scaled with the first of them; one that some other module owns too, such as an
        embedding, is left alone.

    Raises:
        TypeError: ``tol`` is no number; ``max_passes`` is no int.
        ValueError: ``tol`` is not positive; ``max_passes`` is below 1; the model has no layer;
            the orthogonal start meets a lazy weight or one of a single dimension.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(20, 50), nn.Tanh(), nn.Linear(50, 5))
        >>> for layer in lsuv(model, torch.randn(256, 20)):
        ...     print(layer.name, layer.passes, round(layer.std, 3), layer.converged)
        0 1 1.0 True
        2 1 1.0 True

    Reference:
        Mishkin and Matas, "All you need is a good init", 2015, algorithm 1, where tol is 0.1 for
        the variance. The mean is ours, as is dividing the bias too (there it is zero).
    """
    tol = real_number("tol", tol)
    if tol <= 0:
        raise ValueError(f"tol must be positive; got {tol}. Give e.g. tol=0.01.")
    max_passes = positive_int("max_passes", max_passes, example=10)
    layers = {name: module for name, module in _named_modules(model) if _is_layer(module, kinds)}
    if not layers:
        todo = "Give kinds, e.g. kinds=nn.Linear, or a model with a weight of two dimensions."
        raise ValueError(f"model must have a layer to scale; got {type(model).__name__}. {todo}")
    owner = {  # of weights that are no concern of ours, or have been dealt with
        id(parameter): name
        for name, module in _named_modules(model)
        if name not in layers
        for parameter in module.parameters(recurse=False)
    }
    if orthogonal:
        _start_orthogonal(layers.values(), set(owner), generator)

    def run() -> None:
        with forked():
            (forward or call)(model, batch)

    report: list[LSUVLayer] = []
    with in_training_mode(model):
        for name in in_call_order(layers, run):
            layer = layers.pop(name)
            weight = _weight(layer)
            if id(weight) in owner:
                report.append(_untouched(name, f"its weight is that of {owner[id(weight)]}"))
            elif not weight.requires_grad:
                report.append(_untouched(name, "its weight is frozen"))
            else:
                owner[id(weight)] = name
                report.append(_scale(name, layer, run, tol, max_passes, mean))
    uncalled = "it was not called, or did not answer with a tensor"
    return (*report, *(_untouched(name, uncalled) for name in layers))


def _scale(
    name: str,
    layer: nn.Module,
    run: Callable[[], object],
    tol: float,
    max_passes: int,
    mean: bool,
) -> LSUVLayer:
    """Rescales one layer until its output is right, or cannot become so."""
    weight, bias = _weight(layer), _trainable_bias(layer)
    passes = 0
    while True:
        output = first_output(layer, run)
        precise = output.to(torch.promote_types(output.dtype, torch.float32))
        var, centre = (number.item() for number in torch.var_mean(precise, correction=0))
        std = math.sqrt(var)
        off_centre = mean and bias is not None and abs(centre) >= tol
        if abs(std - 1) < tol and not off_centre:
            return LSUVLayer(name, passes, centre, std)
        if std == 0:
            return LSUVLayer(name, passes, centre, std, "its output does not vary")
        if not math.isfinite(std):
            return LSUVLayer(name, passes, centre, std, "its output is not finite")
        if passes == max_passes:
            return LSUVLayer(name, passes, centre, std, f"not within {tol} of 1 (mean: of 0)")
        weight.div_(std)
        if bias is not None:
            bias.sub_(centre if mean else 0.0).div_(std)
        passes += 1


def _untouched(name: str, problem: str) -> LSUVLayer:
    return LSUVLayer(name, 0, math.nan, math.nan, problem)


def _named_modules(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    return cast(Iterable[tuple[str, nn.Module]], model.named_modules())


def _is_layer(module: nn.Module, kinds: Kinds | None) -> bool:
    weight = dict(module.named_parameters(recurse=False, remove_duplicate=False)).get("weight")
    if weight is None:
        return False
    if kinds is None:
        return (weight.ndim >= 2 or is_lazy(weight)) and not isinstance(module, _NOT_LAYERS)
    return isinstance(module, kinds) if isinstance(kinds, (type, tuple)) else kinds(module)


def _weight(layer: nn.Module) -> nn.Parameter:
    return layer.get_parameter("weight")


def _start_orthogonal(
    layers: Iterable[nn.Module], taken: set[int], generator: Generator | None
) -> None:
    """Fills each weight that is not ``taken`` once, and zeroes the biases of its layers."""
    drawn: set[int] = set()
    for layer in layers:
        weight, bias = _weight(layer), _trainable_bias(layer)
        if not weight.requires_grad or id(weight) in taken:
            continue
        if id(weight) not in drawn:
            orthogonal_(weight, groups=getattr(layer, "groups", 1), generator=generator)
        drawn.add(id(weight))
        if bias is not None:
            nn.init.zeros_(bias)


def _trainable_bias(layer: nn.Module) -> nn.Parameter | None:
    bias = getattr(layer, "bias", None)
    return bias if isinstance(bias, nn.Parameter) and bias.requires_grad else None

"""Layer-sequential unit variance: weights scaled by what a batch really does to each layer."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import cast, final

import torch
from torch import Generator, nn

from lehr.base.call import call
from lehr.base.shared_models import check_whole
from lehr.base.values import check_batch, check_values
from lehr.errors import one_line, positive_int, real_number
from lehr.init.behind import Reader, Shifting
from lehr.init.layer_calls import Forward, in_call_order, in_training_mode
from lehr.init.layer_weight import LayerWeight, has_weight
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
        mean: mean of what was measured at the end; nan if nothing was.
        std: its standard deviation at the end; nan likewise.
        problem: why it was not brought to unit size; empty if it was.
        behind: whether it was measured behind a rectifier.

    Example:
        >>> LSUVLayer("0", passes=1, mean=0.0, std=1.0).converged
        True
    """

    name: str
    passes: int
    mean: float
    std: float
    problem: str = ""
    behind: bool = False

    @property
    def rms(self) -> float:
        """Root mean square of what was measured, which counts the mean as well."""
        return math.hypot(self.mean, self.std)

    @property
    def converged(self) -> bool:
        """Whether it has the size that was asked for now."""
        return not self.problem


def lsuv(
    model: nn.Module,
    batch: Batch,
    *,
    tol: float = 0.01,
    max_passes: int = 10,
    mean: bool = True,
    orthogonal: bool = True,
    behind: bool = True,
    kinds: Kinds | None = None,
    forward: Forward | None = None,
    generator: Generator | None = None,
) -> tuple[LSUVLayer, ...]:
    """Scales each layer until what the next one reads of it on ``batch`` has unit size.

    For each layer in the order of their first calls, until |size - 1| < tol and |mean| < tol ::

        bias ← bias - mean        weight ← weight / size        bias ← bias / size

    Both are measured over all numbers of the layer's *first* call, where the next layer reads them:
    behind the rectifier (ReLU and its relatives, modules or functions) that the very output goes
    into, or, if there is none, at the output itself.

    - At the output itself, ``size`` is the standard deviation and ``mean`` the mean.
    - A rectifier that can be shifted, as `lehr.models.GeneralReLU` can, loses the mean behind it,
      and the bias stays; ``size`` is the standard deviation.
    - Behind any other rectifier a mean remains, which the next layer reads as well: ``size`` is the
      root mean square. ``mean`` is that of the output, before the rectifier. (Softplus and clamps
      are not 0 at 0, so no weight is small enough for some of them: there it is the deviation.)

    Two passes are exact where all is piecewise linear. More are needed where the bias is frozen, or
    with smooth rectifiers.

    The model runs in training mode, without gradients; random layers draw the same numbers in
    every pass. Modes, buffers (such as running means) and torch's random state are put back, and
    no hook stays, also after an error. Frozen parameters stay as they are.

    Args:
        model: any model; its layers' weights and biases change in place.
        batch: what the model is given: a tensor, a tuple of positional arguments or a dict of
            keyword arguments. Not the ``(xb, yb)`` of a loader, but its ``xb``.
        tol: how far size and mean may be off. What another batch of n numbers can
            differ is no matter here, but do not expect less than 1 / √n from it.
        max_passes: rescalings of one layer at most.
        mean: also bring the mean to zero, where a bias or a shift can.
        orthogonal: start from orthogonal weights and zero biases, rather than from what is there.
        behind: measure behind rectifiers. False measures each layer's own output, as in the paper.
        kinds: which modules are layers; None is every module with a ``weight`` of at least two
            dimensions, parametrized ones included; embeddings and layer normalisations left out.
        forward: called as ``forward(model, batch)`` in place of the model.
        generator: where the draws of the orthogonal start come from.

    Returns:
        One `LSUVLayer` per layer, in the order of their calls. A weight that several layers share
        is scaled with the first of them; one that some other module owns too, such as an
        embedding, is left alone.

    Raises:
        TypeError: ``tol`` is no number; ``max_passes`` is no int.
        ValueError: ``tol`` is not positive; ``max_passes`` is below 1; the model has no layer, or
            is sharded; the orthogonal start meets a lazy weight or one of a single dimension; model
            or batch are on the device ``meta``.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(20, 50), nn.Tanh(), nn.Linear(50, 5))
        >>> for layer in lsuv(model, torch.randn(256, 20)):  # nothing follows that grows
        ...     print(layer.name, layer.passes, round(layer.std, 3), layer.converged)
        0 1 1.0 True
        2 1 1.0 True

    Reference:
        Mishkin and Matas, "All you need is a good init", 2015, algorithm 1, where tol is 0.1 for
        the variance of each layer's own output. Measuring behind the activation, and the shift, are
        from fast.ai's "Deep learning from the foundations", 2019, lesson 11; the root mean square
        where nothing can be shifted is ours, after He et al., 2015, section 2.2, equation 7: it is
        what decides the variance of the next layer. The mean is ours, as is dividing the bias too
        (there it is zero).
    """
    tol = real_number("tol", tol)
    if tol <= 0:
        raise ValueError(f"tol must be positive; got {tol}. Give e.g. tol=0.01.")
    max_passes = positive_int("max_passes", max_passes, example=10)
    check_values(model, done="scaled")
    check_whole(model, "lsuv", "Call it before the model is sharded.")
    check_batch(batch)
    layers = {name: module for name, module in _named_modules(model) if _is_layer(module, kinds)}
    if not layers:
        todo = "Give kinds, e.g. kinds=nn.Linear, or a model with a weight of two dimensions."
        raise ValueError(f"model must have a layer to scale; got {type(model).__name__}. {todo}")
    weights = {name: LayerWeight(layer) for name, layer in layers.items()}
    made_of = tuple(f"{name}.parametrizations.".lstrip(".") for name in layers)
    owner = {  # of weights that are no concern of ours, or have been dealt with
        id(parameter): name
        for name, module in _named_modules(model)
        if name not in layers and not name.startswith(made_of)
        for parameter in module.parameters(recurse=False)
    }

    def run() -> None:
        with forked():
            (forward or call)(model, batch)

    report: list[LSUVLayer] = []
    shifted: list[tuple[Shifting, float]] = []
    with in_training_mode(model):
        if orthogonal:
            _start_orthogonal(weights.values(), set(owner), generator)
        for name in in_call_order(layers, run):
            layer, weight = layers.pop(name), weights[name]
            if weight.key in owner:
                report.append(_untouched(name, f"its weight is that of {owner[weight.key]}"))
            elif not weight.trainable:
                report.append(_untouched(name, "its weight is frozen"))
            else:
                owner[weight.key] = name
                reader = Reader(layer, model, run)
                reader.behind = None if behind else False
                report.append(_scale(name, weight, reader, tol, max_passes, mean))
                if reader.shifting is not None:
                    shifted.append((reader.shifting, reader.shift))
    for rectifier, amount in shifted:  # its buffer was put back with all the others
        rectifier.shift_(torch.as_tensor(amount))
    uncalled = "it was not called, or did not answer with a tensor"
    return (*report, *(_untouched(name, uncalled) for name in layers))


def _scale(
    name: str, weight: LayerWeight, reader: Reader, tol: float, max_passes: int, mean: bool
) -> LSUVLayer:
    """Rescales one layer until its size is right, or cannot become so."""
    bias = _trainable_bias(weight.layer)
    passes = 0
    while True:
        values = reader.read()
        precise = values.to(torch.promote_types(values.dtype, torch.float32))
        var, centre = (number.item() for number in torch.var_mean(precise, correction=0))
        std, shifting = math.sqrt(var), reader.shifting
        movable = mean and (bias is not None or shifting is not None)
        off = abs(centre if shifting is not None else reader.centre) if movable else 0.0
        size = math.hypot(centre, std) if reader.through_zero else std
        done = partial(LSUVLayer, name, passes, centre, std, behind=bool(reader.behind))
        if abs(size - 1) < tol and off < tol:
            return done()
        if std == 0:
            return done("its output does not vary")
        if not math.isfinite(size):
            return done("its output is not finite")
        if passes == max_passes:
            return done(f"not within {tol} of 1 (mean: of 0)")
        if shifting is not None and mean:
            shifting.shift_(torch.as_tensor(centre))
            reader.shift += centre
        elif bias is not None and mean:
            bias.sub_(reader.centre)
        try:
            weight.write(weight.read() / size)
        except Exception as error:  # a property may refuse in any way
            return done(f"its weight cannot be set: {one_line(error)}")
        if bias is not None:
            bias.div_(size)
        passes += 1


def _untouched(name: str, problem: str) -> LSUVLayer:
    return LSUVLayer(name, 0, math.nan, math.nan, problem)


def _named_modules(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    return cast(Iterable[tuple[str, nn.Module]], model.named_modules())


def _is_layer(module: nn.Module, kinds: Kinds | None) -> bool:
    if not has_weight(module):
        return False
    if kinds is None:
        return LayerWeight(module).ndim >= 2 and not isinstance(module, _NOT_LAYERS)
    return isinstance(module, kinds) if isinstance(kinds, (type, tuple)) else kinds(module)


def _start_orthogonal(
    weights: Iterable[LayerWeight], taken: set[int], generator: Generator | None
) -> None:
    """Fills each weight that is not ``taken`` once, and zeroes the biases of its layers."""
    drawn: set[int] = set()
    for weight in weights:
        layer, bias = weight.layer, _trainable_bias(weight.layer)
        if not weight.trainable or weight.key in taken:
            continue
        if weight.key not in drawn:
            groups = getattr(layer, "groups", 1)
            weight.fill(partial(orthogonal_, groups=groups, generator=generator))
        drawn.add(weight.key)
        if bias is not None:
            nn.init.zeros_(bias)


def _trainable_bias(layer: nn.Module) -> nn.Parameter | None:
    bias = getattr(layer, "bias", None)
    return bias if isinstance(bias, nn.Parameter) and bias.requires_grad else None

"""By how much weights must grow to make up for what the activation takes away."""

import functools
import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F

from lehr.errors import did_you_mean, real_number
from lehr.init.gaussian import Activation, expectation

NONLINEARITIES: Mapping[str, Activation] = MappingProxyType(
    {
        "linear": torch.clone,
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "elu": F.elu,
        "selu": F.selu,
        "gelu": F.gelu,
        "silu": F.silu,
        "mish": F.mish,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }
)
"""The activations whose gain `gain_of` knows by name."""


def gain(a: float = 0.0) -> float:
    """The gain of a rectifier whose slope is ``a`` for negative inputs: sqrt(2 / (1 + a²)).

    A rectifier halves the second moment of a symmetric input, a leak gives a² of that half back.
    ``a = 1`` is no rectifier at all. ``a = √5``, which PyTorch's Linear and Conv layers pass as
    they reset their parameters, is no slope of anything: with it `kaiming_uniform_` is U(±1/√n).

    Args:
        a: slope for negative inputs; 0 is ReLU.

    Returns:
        The factor of the weights' standard deviation.

    Raises:
        TypeError: ``a`` is no number.
        ValueError: ``a`` is not finite.

    Example:
        >>> [round(gain(a), 6) for a in (1, 0, 0.01, 0.1, 5**0.5)]
        [1.0, 1.414214, 1.414143, 1.407195, 0.57735]

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equation 15. The rectifier is
        the one *before* the layer there, whose output the layer sums; PyTorch's text speaks of the
        one after. Where all activations are alike only the first and last layer can tell.
    """
    return math.sqrt(2 / (1 + real_number("a", a) ** 2))


def gain_for(f: Activation) -> float:
    """The gain of any activation: 1 / sqrt(E f(z)²) for z ~ N(0, 1).

    With it, weights of variance gain² / fan_in keep the second moment of the pre-activations at 1.

    Args:
        f: maps a float64 tensor to one of the same shape, each element by itself.

    Returns:
        The gain; √2 for ReLU.

    Raises:
        ValueError: E f(z)² is zero or not finite.

    Example:
        >>> round(gain_for(torch.relu), 6), round(gain_for(torch.tanh), 6)
        (1.414214, 1.592537)

    Reference:
        He et al., 2015, section 2.2, whose argument needs no more than E f(z)². Poole et al.,
        "Exponential expressivity in deep neural networks through transient chaos", 2016, equation
        3, is the same condition.
    """
    second_moment = expectation(lambda z: f(z) ** 2)
    if not 0 < second_moment < math.inf:
        todo = "Give an activation that neither vanishes nor overflows on N(0, 1)."
        raise ValueError(f"f must have a positive, finite E f(z)²; got {second_moment}. {todo}")
    return 1 / math.sqrt(second_moment)


def gain_of(nonlinearity: str, a: float = 0.01) -> float:
    """The gain of an activation by its name, as `gain_for` computes it, or `gain` exactly.

    ``torch.nn.init.calculate_gain`` rounds instead: 5/3 for tanh, 3/4 for SELU, 1 for sigmoid.

    Args:
        nonlinearity: one of `NONLINEARITIES`, e.g. ``"relu"``, ``"gelu"``.
        a: slope of ``"leaky_relu"`` for negative inputs; no other reads it.

    Returns:
        The gain.

    Raises:
        TypeError: ``a`` is no number.
        ValueError: there is no such name; ``a`` is not finite.

    Example:
        >>> round(gain_of("relu"), 6), round(gain_of("gelu"), 6), round(gain_of("selu"), 6)
        (1.414214, 1.53353, 1.0)

    Reference:
        See `gain_for`.
    """
    if nonlinearity not in NONLINEARITIES:
        todo = did_you_mean(str(nonlinearity), NONLINEARITIES)
        raise ValueError(f"nonlinearity must be a known name; got {nonlinearity!r}. {todo}")
    slopes = {"linear": 1.0, "relu": 0.0, "leaky_relu": a}
    if nonlinearity in slopes:
        return gain(slopes[nonlinearity])
    return _gain_by_name(nonlinearity)


@functools.cache
def _gain_by_name(nonlinearity: str) -> float:
    return gain_for(NONLINEARITIES[nonlinearity])

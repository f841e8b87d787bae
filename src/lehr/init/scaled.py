"""Independent weights whose spread follows from a fan: Kaiming, Xavier, LeCun."""

import math

import torch
from torch import Generator, Tensor

from lehr.errors import real_number
from lehr.init.fans import Fans, Mode
from lehr.init.fans import fans as count
from lehr.init.gains import gain as gain_of_leak
from lehr.init.weights import check_weight


@torch.no_grad()
def scaled_normal_(
    weight: Tensor,
    gain: float = 1.0,
    *,
    mode: Mode = "fan_in",
    fans: Fans | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from N(0, gain² / fan), in place.

    Args:
        weight: of any floating type, ``(out, in)`` or ``(nf, ni / groups, *kernel)``.
        gain: what makes up for the activation, from `gain`, `gain_of` or `gain_for`.
        mode: ``"fan_in"`` keeps the signal's variance on its way forward, ``"fan_out"`` the
            gradient's on its way back; ``"fan_mean"`` is the mean of both fans.
        fans: what the weight connects; None counts it as ungrouped and of stride 1. Give
            ``fans_of(layer)`` for a grouped, strided or transposed convolution.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        ``weight`` itself.

    Raises:
        TypeError: ``weight`` is no floating-point tensor; ``gain`` is no number.
        ValueError: it has fewer than 2 dimensions or no elements; ``gain`` is not finite; there is
            no such ``mode``.

    Example:
        >>> w = scaled_normal_(torch.empty(1000, 100), 2.0, generator=Generator().manual_seed(0))
        >>> round(w.std().item(), 2)
        0.2
    """
    std = _std(weight, gain, mode, fans)
    return weight.normal_(0.0, std, generator=generator)


@torch.no_grad()
def scaled_uniform_(
    weight: Tensor,
    gain: float = 1.0,
    *,
    mode: Mode = "fan_in",
    fans: Fans | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from U(-bound, bound) with bound = √3 · gain / √fan, in place.

    A uniform number within ±bound has the standard deviation bound / √3, so this is
    `scaled_normal_` without tails. Arguments, result and errors are the same.

    Example:
        >>> w = scaled_uniform_(torch.empty(1000, 75), generator=Generator().manual_seed(0))
        >>> round(w.abs().max().item(), 3)
        0.2
    """
    bound = math.sqrt(3) * _std(weight, gain, mode, fans)
    return weight.uniform_(-bound, bound, generator=generator)


def kaiming_normal_(
    weight: Tensor,
    a: float = 0.0,
    *,
    mode: Mode = "fan_in",
    fans: Fans | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from N(0, 2 / ((1 + a²) · fan)), in place: for networks of (leaky) rectifiers.

    Args:
        weight: ``(out, in)`` or ``(nf, ni / groups, *kernel)``.
        a: slope of the rectifier for negative inputs; 0 is ReLU, 1 is a linear network.
        mode: the fan, see `scaled_normal_`.
        fans: what the weight connects, see `scaled_normal_`.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        ``weight`` itself.

    Raises:
        TypeError: ``weight`` is no floating-point tensor; ``a`` is no number.
        ValueError: it has fewer than 2 dimensions or no elements; ``a`` is not finite; there is no
            such ``mode``.

    Example:
        >>> w = kaiming_normal_(torch.empty(1000, 50), generator=Generator().manual_seed(0))
        >>> round(w.std().item(), 2)
        0.2

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equations 10, 14 and 15.
    """
    return scaled_normal_(weight, gain_of_leak(a), mode=mode, fans=fans, generator=generator)


def kaiming_uniform_(
    weight: Tensor,
    a: float = 0.0,
    *,
    mode: Mode = "fan_in",
    fans: Fans | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from U(±bound), bound = sqrt(6 / ((1 + a²) · fan)), in place.

    It has the standard deviation of `kaiming_normal_`; arguments, result and errors are the same.
    With ``a = √5`` the bound is 1 / √fan and the deviation 1 / √(3 · fan): that is the default of
    PyTorch's Linear and Conv layers, and it shrinks the signal from layer to layer.

    Example:
        >>> w = kaiming_uniform_(torch.empty(1000, 600), generator=Generator().manual_seed(0))
        >>> round(w.abs().max().item(), 3)
        0.1

    Reference:
        As `kaiming_normal_`; the paper draws normal numbers.
    """
    return scaled_uniform_(weight, gain_of_leak(a), mode=mode, fans=fans, generator=generator)


def xavier_normal_(
    weight: Tensor,
    gain: float = 1.0,
    *,
    fans: Fans | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from N(0, 2 · gain² / (fan_in + fan_out)), in place: for linear or tanh-like layers.

    Args:
        weight: ``(out, in)`` or ``(nf, ni / groups, *kernel)``.
        gain: what makes up for the activation.
        fans: what the weight connects, see `scaled_normal_`.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        ``weight`` itself.

    Raises:
        TypeError: ``weight`` is no floating-point tensor; ``gain`` is no number.
        ValueError: it has fewer than 2 dimensions or no elements; ``gain`` is not finite.

    Example:
        >>> w = xavier_normal_(torch.empty(150, 50), generator=Generator().manual_seed(0))
        >>> round(w.std().item(), 2)
        0.1

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", 2010, equation 12.
    """
    return scaled_normal_(weight, gain, mode="fan_mean", fans=fans, generator=generator)


def xavier_uniform_(
    weight: Tensor,
    gain: float = 1.0,
    *,
    fans: Fans | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from U(±bound), bound = gain · sqrt(6 / (fan_in + fan_out)), in place.

    It has the standard deviation of `xavier_normal_`; arguments, result and errors are the same.

    Example:
        >>> w = xavier_uniform_(torch.empty(500, 100), generator=Generator().manual_seed(0))
        >>> round(w.abs().max().item(), 2)
        0.1

    Reference:
        Glorot and Bengio, 2010, equation 16.
    """
    return scaled_uniform_(weight, gain, mode="fan_mean", fans=fans, generator=generator)


def lecun_normal_(
    weight: Tensor, *, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draws from N(0, 1 / fan_in), in place: for SELU, whose own gain is 1.

    Args:
        weight: ``(out, in)`` or ``(nf, ni / groups, *kernel)``.
        fans: what the weight connects, see `scaled_normal_`.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        ``weight`` itself.

    Raises:
        TypeError: ``weight`` is no floating-point tensor.
        ValueError: it has fewer than 2 dimensions or no elements.

    Example:
        >>> w = lecun_normal_(torch.empty(1000, 100), generator=Generator().manual_seed(0))
        >>> round(w.std().item(), 2)
        0.1

    Reference:
        LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, equation 16; Klambauer et al.,
        "Self-normalizing neural networks", 2017, section 3.
    """
    return scaled_normal_(weight, fans=fans, generator=generator)


def _std(weight: Tensor, gain: float, mode: Mode, fans: Fans | None) -> float:
    check_weight(weight)
    return real_number("gain", gain) / math.sqrt((fans or count(weight)).of(mode))

"""How many numbers each output sums over, and how many outputs each input reaches."""

import math
from typing import Literal, NamedTuple

from torch import Tensor, nn

from lehr.errors import did_you_mean, positive_int
from lehr.init.weights import check_weight, per_group

Mode = Literal["fan_in", "fan_out", "fan_mean"]
MODES: tuple[Mode, ...] = ("fan_in", "fan_out", "fan_mean")
CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Fans(NamedTuple):
    """What one weight connects.

    Attributes:
        fan_in: inputs that one output sums over.
        fan_out: outputs that one input reaches.
        receptive_field: positions of the kernel; 1 for a linear layer.

    Example:
        >>> Fans(25, 800, 25).of("fan_in")
        25
    """

    fan_in: float
    fan_out: float
    receptive_field: int

    def of(self, mode: Mode) -> float:
        """The fan called ``mode``, ``"fan_mean"`` being the mean of both (ValueError: no such)."""
        if mode not in MODES:
            raise ValueError(
                f"mode must be a fan's name; got {mode!r}. {did_you_mean(str(mode), MODES)}"
            )
        if mode == "fan_mean":
            return (self.fan_in + self.fan_out) / 2
        return self.fan_in if mode == "fan_in" else self.fan_out


def fans(weight: Tensor, *, groups: int = 1, transposed: bool = False, stride: int = 1) -> Fans:
    """Counts what the weight of a linear or convolutional layer connects.

    A linear weight is stored as (out, in). A convolution's is (nf, ni / groups, *kernel), and with
    rec_fs the number of kernel positions ::

        fan_in  = ni / groups · rec_fs            fan_out = nf / groups · rec_fs / stride

    because an output channel looks at the input channels of its own group only. A transposed
    convolution stores (ni, nf / groups, *kernel): in and out change places, and the stride divides
    fan_in. With a stride, these are means over positions: kernel 3 and stride 2 let a pixel reach
    9 / 4 outputs. Zeros from padding count as inputs, so nothing is said about borders.

    Args:
        weight: the weight as a layer stores it.
        groups: groups of channels that do not meet.
        transposed: whether the layer is a transposed convolution.
        stride: the product of the strides; 4 for stride 2 in two dimensions.

    Returns:
        Fans: whole numbers, unless a stride does not divide them.

    Raises:
        TypeError: ``weight`` is no floating-point tensor; ``stride`` is no int.
        ValueError: it has fewer than 2 dimensions or no elements; ``groups`` does not divide its
            first size; ``stride`` is below 1.

    Example:
        >>> import torch
        >>> fans(torch.empty(32, 1, 5, 5))
        Fans(fan_in=25, fan_out=800, receptive_field=25)
        >>> fans(torch.empty(50, 784)).fan_in
        784

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, section 2.2: n = k²c. There,
        and in torch.nn.init, every layer counts as ungrouped and of stride 1, and torch takes
        fan_in and fan_out of transposed layers for each other.
    """
    check_weight(weight)
    stride = positive_int("stride", stride, example=2)
    per_group(weight, groups)
    receptive_field = math.prod(weight.shape[2:])
    gathered = weight.shape[1] * receptive_field
    scattered = weight.shape[0] // groups * receptive_field
    thinned = scattered // stride if scattered % stride == 0 else scattered / stride
    if transposed:
        return Fans(thinned, gathered, receptive_field)
    return Fans(gathered, thinned, receptive_field)


def fans_of(module: nn.Module) -> Fans:
    """Counts what a layer connects, with its own groups, direction and strides.

    An embedding looks one row up, so its fan_in is 1. Of attention it counts one of the three
    projections that lead into it. Of a bilinear layer, fan_out is that of the first input.

    Args:
        module: a linear, bilinear, (transposed) convolutional, embedding or attention layer.

    Returns:
        The counts, as `fans` defines them.

    Raises:
        TypeError: ``module`` is none of these.

    Example:
        >>> fans_of(nn.Conv2d(8, 16, 3, stride=2, groups=4))
        Fans(fan_in=18, fan_out=9, receptive_field=9)
        >>> fans_of(nn.ConvTranspose2d(8, 16, 4, stride=2)).fan_in
        32
    """
    if isinstance(module, CONVOLUTIONS):
        return fans(
            module.weight,
            groups=module.groups,
            transposed=module.transposed,
            stride=math.prod(module.stride),
        )
    if isinstance(module, nn.Linear):
        return fans(module.weight)
    if isinstance(module, nn.Bilinear):
        return fans(module.weight)._replace(receptive_field=1)
    if isinstance(module, nn.Embedding):
        return Fans(1, module.embedding_dim, 1)
    if isinstance(module, nn.MultiheadAttention):
        return Fans(module.embed_dim, module.embed_dim, 1)
    todo = "Count by hand: fans(weight, groups=…, transposed=…)."
    raise TypeError(f"module must be a layer of known kind; got {type(module).__name__}. {todo}")

"""Weights that keep lengths, not only on average."""

from typing import cast

import torch
from torch import Generator, Tensor

from lehr.errors import real_number
from lehr.init.weights import check_weight, per_group


@torch.no_grad()
def orthogonal_(
    weight: Tensor,
    gain: float = 1.0,
    *,
    groups: int = 1,
    generator: Generator | None = None,
) -> Tensor:
    """Fills ``weight`` with ``gain`` times a random (semi-)orthogonal matrix, in place.

    All dimensions but the first are taken as one. Whichever side of that matrix is shorter is
    orthonormal: W·Wᵀ = gain²·I if there are at most as many outputs as inputs, else Wᵀ·W = gain²·I.
    Every such matrix is equally likely. A square linear layer then keeps the length of every
    vector; a convolution so filled does not, for which there is `delta_orthogonal_`.

    Args:
        weight: ``(out, in)`` or ``(nf, ni / groups, *kernel)``.
        gain: factor; √2 in front of ReLU keeps lengths on average only.
        groups: groups of a convolution; each becomes orthogonal by itself.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        ``weight`` itself.

    Raises:
        TypeError: ``weight`` is no floating-point tensor; ``gain`` is no number.
        ValueError: it has fewer than 2 dimensions or no elements; ``gain`` is not finite;
            ``groups`` does not divide the first size.

    Example:
        >>> w = orthogonal_(torch.empty(2, 3), generator=Generator().manual_seed(0))
        >>> torch.allclose(w @ w.T, torch.eye(2), atol=1e-6)
        True

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
        deep linear neural networks", 2013, section 3. The signs after the decomposition follow
        Mezzadri, "How to generate random matrices from the classical compact groups", 2006,
        without which the draws would not be uniform.
    """
    check_weight(weight)
    gain = real_number("gain", gain)
    for part in per_group(weight, groups):
        part.copy_(gain * _orthogonal(part.flatten(1), generator).view_as(part))
    return weight


@torch.no_grad()
def delta_orthogonal_(
    weight: Tensor,
    gain: float = 1.0,
    *,
    groups: int = 1,
    generator: Generator | None = None,
) -> Tensor:
    """Makes a convolution keep lengths: zero but for an orthogonal matrix at the kernel's centre.

    With stride 1 and "same" padding, every image then leaves with gain times its length.

    Args:
        weight: ``(nf, ni / groups, *kernel)``, with nf ≥ ni and odd kernel sizes.
        gain: factor of the orthogonal matrix.
        groups: groups of the convolution; each becomes orthogonal by itself.
        generator: where the draws come from; None is torch's default generator.

    Returns:
        ``weight`` itself.

    Raises:
        TypeError: ``weight`` is no floating-point tensor; ``gain`` is no number.
        ValueError: it has fewer than 3 dimensions or no elements; a kernel size is even, so there
            is no centre; there are more inputs than outputs, so that some inputs would be lost;
            ``gain`` is not finite; ``groups`` does not divide the first size.

    Example:
        >>> conv = torch.nn.Conv2d(4, 8, 3, padding=1, bias=False)
        >>> w = delta_orthogonal_(conv.weight)
        >>> x = torch.randn(1, 4, 9, 9)
        >>> torch.allclose(conv(x).norm(), x.norm())
        True

    Reference:
        Xiao, Bahri, Sohl-Dickstein, Schoenholz and Pennington, "Dynamical isometry and a mean
        field theory of CNNs", 2018, algorithm 1; groups are ours.
    """
    check_weight(weight, least_dims=3)
    gain = real_number("gain", gain)
    parts = per_group(weight, groups)
    outputs, inputs, *kernel = parts[0].shape
    if any(size % 2 == 0 for size in kernel):
        todo = "Give odd kernel sizes, or use orthogonal_."
        raise ValueError(
            f"weight must have a kernel with a centre; got shape {tuple(weight.shape)}. {todo}"
        )
    if inputs > outputs:
        todo = "Widen the layer, or use orthogonal_."
        raise ValueError(
            f"weight must have at least as many outputs as inputs in each group; "
            f"got {outputs} outputs and {inputs} inputs. {todo}"
        )
    weight.zero_()
    centre = (slice(None), slice(None), *(size // 2 for size in kernel))
    for part in parts:
        middle = part[centre]
        middle.copy_(gain * _orthogonal(middle, generator))
    return weight


def _orthogonal(matrix: Tensor, generator: Generator | None) -> Tensor:
    """A random matrix of this shape whose shorter side is orthonormal."""
    precise = torch.promote_types(matrix.dtype, torch.float32)  # there is no QR in half precision
    rows, columns = sorted(matrix.shape, reverse=True)
    gaussian = torch.empty(rows, columns, dtype=precise, device=matrix.device)
    gaussian.normal_(generator=generator)
    q, r = cast(tuple[Tensor, Tensor], torch.linalg.qr(gaussian))
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return q if matrix.shape[0] == rows else q.T

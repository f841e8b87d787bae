"""The arithmetic of a generator and a critic: what each of them loses, and the gradient penalty."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lehr.base.interrupts import interrupts_wait_at_both_ends


def wasserstein(on_fake: Tensor, on_real: Tensor | None = None) -> Tensor:
    """How far apart the critic sees items of the generator and of the data, with a minus sign.

    Args:
        on_fake: the critic's outputs for items of the generator; any shape.
        on_real: for items of the data; None gives the loss of the generator.

    Example:
        >>> wasserstein(torch.tensor([1.0]), torch.tensor([3.0])), wasserstein(torch.tensor([1.0]))
        (tensor(-2.), tensor(-1.))

    Reference:
        Arjovsky et al. 2017, arXiv:1701.07875, equations 2 and 3.
    """
    return -on_fake.mean() if on_real is None else on_fake.mean() - on_real.mean()


def logistic(on_fake: Tensor, on_real: Tensor | None = None) -> Tensor:
    """Binary cross-entropy; the outputs are logits, and the generator maximises log D(G(z)).

    Args:
        on_fake: the critic's outputs for items of the generator; any shape.
        on_real: for items of the data; None gives the loss of the generator.

    Example:
        >>> logistic(torch.zeros(1), torch.zeros(1))
        tensor(1.3863)

    Reference:
        Goodfellow et al. 2014, arXiv:1406.2661, equation 1 and the end of section 3.
    """
    if on_real is None:
        return F.softplus(-on_fake).mean()
    return F.softplus(on_fake).mean() + F.softplus(-on_real).mean()


def hinge(on_fake: Tensor, on_real: Tensor | None = None) -> Tensor:
    """The hinge loss: outputs beyond 1, or below -1, cost the critic nothing.

    Args:
        on_fake: the critic's outputs for items of the generator; any shape.
        on_real: for items of the data; None gives the loss of the generator.

    Example:
        >>> hinge(torch.tensor([-2.0]), torch.tensor([0.5])), hinge(torch.tensor([-2.0]))
        (tensor(0.5000), tensor(2.))

    Reference:
        Lim and Ye 2017, arXiv:1705.02894, equations 11 and 12.
    """
    if on_real is None:
        return -on_fake.mean()
    return F.relu(1 + on_fake).mean() + F.relu(1 - on_real).mean()


def slope_penalty(
    critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """The mean of (‖slope‖ - 1)² at points that are drawn between items of data and generator.

    Args:
        critic: whose slope it is.
        real: items of the data, of shape ``(batch, …)``.
        fake: those of the generator, of the same shape.
        generator: draws the points.

    Example:
        >>> critic = nn.Linear(2, 1)
        >>> with torch.no_grad(): _ = critic.weight.copy_(torch.tensor([[3.0, 4.0]]))
        >>> slope_penalty(critic, torch.ones(4, 2), torch.zeros(4, 2), torch.Generator()).item()
        16.0

    Reference:
        Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1.
    """
    shape = len(real), *[1] * (real.ndim - 1)
    share = torch.rand(shape, generator=generator, device=real.device, dtype=real.dtype)
    between = torch.lerp(fake.detach(), real, share).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # The gradient of this norm is 0 where the slope is.
    norms = cast("Tensor", torch.linalg.vector_norm(slope.flatten(1), dim=1))
    return (norms - 1).square().mean()


@interrupts_wait_at_both_ends
@contextmanager
def frozen(module: nn.Module) -> Generator[None]:
    """A scope in which no gradient reaches the parameters, but goes through to the input.

    Args:
        module: whose parameters.

    Example:
        >>> layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
        >>> with frozen(layer):
        ...     layer(x).sum().backward()
        >>> layer.weight.grad is None, x.grad.shape
        (True, torch.Size([1, 2]))
    """
    held = [p for p in module.parameters() if p.requires_grad]
    for p in held:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in held:
            p.requires_grad_(True)

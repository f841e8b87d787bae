"""Steps with the gradient of the worst point nearby."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lehr.base.gradients import total_norm
from lehr.callback import Callback
from lehr.callbacks.gradient.closure import Closure
from lehr.errors import above_zero
from lehr.events import Layer, Phase
from lehr.loop.beside import refuse_beside

if TYPE_CHECKING:
    from lehr.loop.run import Run


class SAM(Callback):
    r"""Sharpness-aware minimisation: takes the gradient where the loss nearby is about the largest.

    .. math:: w \leftarrow w - \mathrm{step}\bigl(\nabla L(w + ρ\, g / \lVert g \rVert)\bigr),
              \quad g = \nabla L(w)

    Each step costs two forward and two backward passes, with the same random numbers. BatchNorm
    counts each batch twice. Gradients may be sparse.

    Args:
        rho: how far away the gradient is taken; above 0.
        adaptive: measure the distance relative to the size of each weight (ASAM). A ``rho`` about
            ten times as large is usual then.

    Raises:
        TypeError, ValueError: ``rho`` cannot be used; or, at the start of a fit, a `Closure` is
            there, with which the optimizer would take the gradient anew where the weights are.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> plain, sharp = tiny_learner(), tiny_learner([SAM(0.05)])
        >>> plain.fit(1).model[0].weight.equal(sharp.fit(1).model[0].weight)
        False

    Reference:
        Foret et al. 2021, arXiv:2010.01412, algorithm 1, without its weight decay. ``adaptive``:
        Kwon et al. 2021, arXiv:2102.11600, equation 9, for all parameters alike, with η = 0.
    """

    phase = Phase.PREPARE
    layer = Layer.SEARCH
    regrads = True
    state = ()
    by_length = False

    def __init__(self, rho: float = 0.05, *, adaptive: bool = False) -> None:
        self.rho = above_zero("rho", rho)
        self.adaptive = adaptive

    def begin_fit(self, run: "Run") -> None:
        """See that the optimizer steps with the gradient that it is given."""
        refuse_beside(
            run,
            self,
            Closure,
            "an optimizer with a closure, such as LBFGS, takes the gradient anew where the weights "
            "are, and the one that SAM found nearby would be lost. Use SAM with an optimizer that "
            "needs no closure, such as SGD, or leave it out.",
        )

    def step(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Go where the loss is larger, take the gradient there, come back, and step."""
        held = [p for p in run.trained_parameters() if p.grad is not None]
        before = [p.detach().clone() for p in held]
        try:
            self._climb(held, before)
            run.regrad()
        finally:
            with torch.no_grad():
                for p, value in zip(held, before, strict=True):
                    p.copy_(value)
        proceed()

    @torch.no_grad()
    def _climb(self, held: list[nn.Parameter], before: list[Tensor]) -> None:
        grads = [_one_of_each(p.grad) for p in held if p.grad is not None]
        if self.adaptive:
            grads = [p.abs() * grad for p, grad in zip(held, grads, strict=True)]
        norm = total_norm(grads)
        scale = self.rho / (norm + 1e-12)
        for p, value, grad in zip(held, before, grads, strict=True):
            p.add_(p.abs() * grad * scale if self.adaptive else grad * scale)
            p.copy_(torch.where(norm.isfinite(), p, value))  # one that overflowed leads nowhere

    def __repr__(self) -> str:
        return f"SAM({self.rho}{', adaptive=True' if self.adaptive else ''})"


def _one_of_each(grad: Tensor) -> Tensor:
    """The gradient; if it is sparse, with each of its indices once."""
    return grad.coalesce() if grad.is_sparse else grad

"""Records how large the gradient and the update of every layer are."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lehr.base.gradients import total_norm
from lehr.callback import Callback
from lehr.errors import positive_int
from lehr.events import Layer
from lehr.record.layer_log import LayerLog
from lehr.record.layer_table import LayerTable
from lehr.state.wrappers import bare

if TYPE_CHECKING:
    from lehr.loop.run import Run

GRADIENT, WEIGHT, UPDATE = 0, 1, 2


class GradientStats(Callback):
    """Records the norms of gradient, weight and update of each parameter, step by step.

    The gradient is the one that the optimizer gets: unscaled, clipped, the mean over its update
    window. An update that is a thousandth of its weight is usual; far smaller means that the layer
    stands still, far larger that the rate is too high. Of a long fit, steps that are spread over it
    evenly are kept, at most 2,048.

    Args:
        every: record each such optimizer step; at least 1.

    Attributes:
        steps: the records, as `lehr.record.layer_log.LayerLog`: ``values()`` has the shape
            ``(steps, parameters, 3)``; the columns are the norms of gradient, weight and update.

    Raises:
        TypeError, ValueError: ``every`` cannot be used.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> stats = GradientStats()
        >>> run = tiny_learner().fit(1, callbacks=[stats])
        >>> stats.steps.layers, tuple(stats.ratios().shape)
        (['0.weight', '0.bias', '2.weight', '2.bias'], (4, 4))
    """

    layer = Layer.CLIP
    replays = False
    state = ("steps",)

    def __init__(self, every: int = 1) -> None:
        self.every = positive_int("every", every, example=10)

    def begin_fit(self, run: "Run") -> None:
        """Find the parameters that are trained."""
        held = {id(p) for p in run.trained_parameters()}
        self._held = {n: p for n, p in bare(run.model).named_parameters() if id(p) in held}
        self.steps = LayerLog(list(self._held), 3)
        run.defer(self._held.clear)

    @torch.no_grad()
    def step(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Look at the weights before and after the step."""
        if run.n_steps % self.every:
            proceed()
            return
        before = [p.detach().clone() for p in self._held.values()]
        gradients = [_norm(p.grad, p) for p in self._held.values()]
        with torch.enable_grad():
            proceed()
        if run.stepped:
            after = list(self._held.values())
            weights = [_norm(value, value) for value in before]
            updates = [_norm(p - value, p) for p, value in zip(after, before, strict=True)]
            columns = [torch.stack(column) for column in (gradients, weights, updates)]
            self.steps.add(run.n_steps, torch.stack(columns, dim=1))

    def ratios(self) -> Tensor:
        """The size of each update as a share of its weight, of shape ``(steps, parameters)``."""
        values = self.steps.values()
        return values[:, :, UPDATE] / values[:, :, WEIGHT]

    def layer_tables(self) -> list[LayerTable]:
        """What a report shows: the norms of the gradients, and the updates against the weights.

        Before the first fit there is nothing.
        """
        if not hasattr(self, "_held"):
            return []
        gradients = self.steps.values()[:, :, GRADIENT]
        return [
            LayerTable(
                title="Gradient and update of each parameter, by step",
                layers=self.steps.layers,
                batches=self.steps.batches,
                numbers={"norm of the gradient": gradients, "update against weight": self.ratios()},
                axis="optimizer step",
            )
        ]

    def __repr__(self) -> str:
        return f"GradientStats({self.every})"


def _norm(value: Tensor | None, of: Tensor) -> Tensor:
    if value is None:
        return torch.zeros((), device=of.device)
    return total_norm([value.detach()]).float()

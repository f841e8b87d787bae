"""Bounds the gradient."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_

from lehr.base.gradients import dense_values, total_norm
from lehr.base.graph_part import Changes, GraphPart
from lehr.callback import Callback
from lehr.errors import above_zero
from lehr.events import Layer

if TYPE_CHECKING:
    from lehr.loop.run import Run

_vector_norm = cast("Callable[..., Tensor]", torch.linalg.vector_norm)


class ClipGradients(Callback):
    """Scales the gradient down to a norm of at most ``max_norm``, or cuts off each of its values.

    It happens once for each optimizer step, to the gradient of the whole update window, after loss
    scales were taken off and after every other callback that changes the gradient. The norm before
    clipping is recorded as ``grad_norm``.

    Args:
        max_norm: of all parameters' gradients together; above 0. ``math.inf`` changes nothing, and
            records the norm. None leaves the norm alone.
        norm_type: which norm: 2.0, or ``math.inf`` for the largest absolute value; above 0.
        max_value: the largest absolute value that is left in the gradient; above 0. None leaves
            the values alone. With both, the values are cut off first.

    Raises:
        TypeError, ValueError: an argument cannot be used, or neither bound is given; at the first
            step, if ``max_value`` is given and a gradient is complex.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[ClipGradients(0.1)])
        >>> len(run.history["grad_norm"]) == run.n_steps
        True

    Reference:
        Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """

    layer = Layer.CLIP
    state = ()
    by_length = False
    in_graph = ("finish_grad",)

    def __init__(
        self,
        max_norm: float | None = None,
        *,
        norm_type: float = 2.0,
        max_value: float | None = None,
    ) -> None:
        if max_norm is None and max_value is None:
            raise ValueError(
                "ClipGradients needs max_norm or max_value; got neither. Write e.g. "
                "ClipGradients(1.0), or ClipGradients(math.inf) to record the norm alone."
            )
        self.max_norm = None if max_norm is None else _bound("max_norm", max_norm)
        self.norm_type = _bound("norm_type", norm_type)
        self.max_value = None if max_value is None else above_zero("max_value", max_value)

    def finish_grad(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Clip what the other callbacks have left."""
        proceed()
        held = [_dense(p, p.grad) for p in run.trained_parameters() if p.grad is not None]
        norm = _norm(held, self.norm_type)
        run.log("grad_norm", norm)
        if self.max_value is not None:
            _cut_off(held, self.max_value)
            norm = _norm(held, self.norm_type)
        if self.max_norm is not None and self.max_norm != math.inf:
            clip_grads_with_norm_(held, self.max_norm, norm)

    def graph_part(self, method: str, run: "Run") -> GraphPart:
        """The same, for the graph of a fused step."""
        bounds = {"max_norm": self.max_norm, "max_value": self.max_value}
        numbers = {n: bound for n, bound in bounds.items() if bound not in (None, math.inf)}
        return GraphPart(_clipped, numbers=numbers, fixed={"norm_type": self.norm_type})

    def __repr__(self) -> str:
        given = {"norm_type": self.norm_type, "max_value": self.max_value}
        usual = {"norm_type": 2.0, "max_value": None}
        named = [f", {name}={value}" for name, value in given.items() if value != usual[name]]
        return f"ClipGradients({self.max_norm}{''.join(named)})"


def _clipped(
    grads: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Tensor],
    *,
    norm_type: float,
) -> Changes:
    """What `ClipGradients.finish_grad` does, as a function."""
    logs = {"grad_norm": _norm_of(grads, norm_type)}
    norm = logs["grad_norm"]
    if "max_value" in numbers:
        most = numbers["max_value"]
        grads = {name: torch.clamp(grad, -most, most) for name, grad in grads.items()}
        norm = _norm_of(grads, norm_type)
    if "max_norm" in numbers:
        share = (numbers["max_norm"] / (norm + 1e-6)).clamp(max=1.0)
        grads = {name: grad * share.to(grad.dtype) for name, grad in grads.items()}
    return Changes(grads, logs=logs)


def _norm_of(grads: Mapping[str, Tensor], norm_type: float) -> Tensor:
    norms = [_vector_norm(grad, norm_type) for grad in grads.values()]
    return _vector_norm(torch.stack(norms), norm_type)


def _cut_off(held: list[Tensor], max_value: float) -> None:
    try:
        clip_grad_value_(held, max_value)
    except RuntimeError as error:
        if not any(p.is_complex() for p in held):
            raise
        raise ValueError(
            f"max_value={max_value} cannot cut off the gradients of complex parameters: complex "
            "numbers are neither larger nor smaller. Use max_norm, which bounds their absolute "
            "values."
        ) from error


def _norm(held: list[Tensor], norm_type: float) -> Tensor:
    return total_norm((p.grad for p in held if p.grad is not None), norm_type)


def _dense(p: nn.Parameter, grad: Tensor) -> Tensor:
    """The parameter; or, if its gradient is sparse, something that has the gradient's values."""
    if not grad.is_sparse:
        return p
    p.grad = grad.coalesce()
    values = dense_values(p.grad)
    held = torch.empty_like(values)
    held.grad = values
    return held


def _bound(name: str, value: float) -> float:
    return math.inf if value == math.inf else above_zero(name, value)

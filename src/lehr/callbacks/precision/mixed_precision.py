"""Computes the forward and the backward pass in half precision."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler

from lehr.base.autocast import in_single_precision
from lehr.base.graph_part import Changes, GraphPart
from lehr.callback import Callback
from lehr.callbacks.gradient.closure import Closure
from lehr.errors import above_zero, positive_int
from lehr.events import Layer, Phase
from lehr.loop.beside import refuse_beside
from lehr.optim import optimizers

if TYPE_CHECKING:
    from lehr.loop.run import Run

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_OVERFLOW = (
    'with "fp16", an overflow in the closure would reach the weights. Use "bf16", which needs no '
    "scale."
)


class MixedPrecision(Callback):
    """Lets the model compute in bfloat16 or float16, while its weights stay as they are.

    The model runs under ``torch.autocast``, in training and validation alike; what it returns
    becomes float32 before the loss is computed. In float16 small gradients would vanish. So the
    loss is multiplied by a scale, and the gradients are divided by it before any other callback
    sees them. When a gradient overflows, the step is skipped and the scale halved: optimizer,
    schedules, averages and counters stay where they are. The scale of each step is recorded as
    ``loss_scale``.

    Args:
        dtype: ``"bf16"``, which needs no scale; or ``"fp16"``.
        init_scale: the first scale; above 0. For ``"fp16"`` alone.
        growth_every: after so many steps without an overflow the scale is doubled; at least 1. For
            ``"fp16"`` alone.

    Attributes:
        scaler: torch's GradScaler, which holds the scale.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if a `Closure` is
            there, or a complex parameter, and the precision is float16.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner([MixedPrecision("bf16")])
        >>> _ = learn.fit(1)
        >>> learn.predict(learn.data.valid_dl).dtype, learn.model[0].weight.dtype
        (torch.float32, torch.float32)

    Reference:
        Micikevicius et al. 2018, arXiv:1710.03740, section 3.
    """

    phase = Phase.PREPARE
    layer = Layer.PRECISION
    state = ("scaler",)
    by_length = False

    def __init__(
        self,
        dtype: Literal["bf16", "fp16"] = "bf16",
        *,
        init_scale: float = 2.0**16,
        growth_every: int = 2000,
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f'dtype must be "bf16" or "fp16"; got {dtype!r}.')
        self.dtype: Literal["bf16", "fp16"] = dtype
        if dtype == "bf16":  # which has no scale: its other methods then do nothing
            self.in_graph = ("predict", "backward", "finish_grad", "step", "zero_grad")
        self.init_scale = above_zero("init_scale", init_scale)
        self.growth_every = positive_int("growth_every", growth_every, example=2000)

    def begin_fit(self, run: "Run") -> None:
        """Find out where the model computes, and begin with the first scale."""
        if self.dtype == "fp16":
            refuse_beside(run, self, Closure, _OVERFLOW)
        scaled = run.trained_parameters() if self.dtype == "fp16" and run.plan.trains else ()
        if any(p.is_complex() for p in scaled):
            raise ValueError(
                'MixedPrecision("fp16") cannot train complex parameters: torch takes a loss scale '
                'off real gradients alone. Use "bf16", which needs no scale.'
            )
        self._device = next((p.device.type for p in run.model.parameters()), "cpu")
        self.scaler = GradScaler(
            self._device,
            init_scale=self.init_scale,
            growth_interval=self.growth_every,
            enabled=self.dtype == "fp16",
        )
        self._one = torch.ones((), device=self._device)
        self._unscaled: list[_Gradients] = []
        run.defer(self._unscaled.clear)

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Predict in half precision."""
        with autocast(self._device, _DTYPES[self.dtype]):
            proceed()
            run.pred = in_single_precision(run.pred)

    def backward(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Take the gradient of the scaled loss."""
        loss = run.loss
        run.loss = self.scaler.scale(loss)
        try:
            proceed()
        finally:
            run.loss = loss

    def finish_grad(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Take the scale off the gradient."""
        self._unscaled.append(_Gradients(run))
        self.scaler.unscale_(self._unscaled[-1])  # pyright: ignore[reportArgumentType]
        proceed()

    def step(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Step unless a gradient has overflowed."""
        if not self.scaler.is_enabled():
            proceed()
            return
        run.log("loss_scale", self.scaler.scale(self._one))  # get_scale would wait for the device
        gradients = self._unscaled[-1]
        gradients.step = proceed
        self.scaler.step(gradients)  # pyright: ignore[reportArgumentType]

    def zero_grad(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Adapt the scale, whoever made the step."""
        if self._unscaled and not run.replaying:
            self._unscaled.clear()
            if self.scaler.is_enabled():
                self.scaler.update()
        proceed()

    def graph_part(self, method: str, run: "Run") -> GraphPart:
        """The same, for the graph of a fused step; in bfloat16 alone."""
        if method == "predict":
            return GraphPart(_in_bfloat16, fixed={"device": self._device})
        return GraphPart(_as_it_is)

    def __repr__(self) -> str:
        return f"MixedPrecision({self.dtype!r})"


def _in_bfloat16(
    predict: Callable[[Any, Any], Any],
    args: Any,
    named: Any,
    tensors: Any,
    numbers: Any,
    *,
    device: str,
) -> Any:
    with autocast(device, torch.bfloat16):
        return in_single_precision(predict(args, named))


def _as_it_is(grads: Any, tensors: Any, numbers: Any) -> Changes:
    return Changes()


class _Gradients:
    """What the scaler takes for an optimizer: all parameters that are trained, and their step."""

    step: Callable[[], None]

    def __init__(self, run: "Run") -> None:
        self.param_groups: list[Any] = [
            group for opt in optimizers.each(run.opt) for group in opt.param_groups
        ]

"""Computes the forward and the backward pass in half precision."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler

from lehr.base.autocast import in_single_precision
from lehr.base.call_with import call_with
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
    in_graph = ("predict", "backward", "finish_grad", "step", "zero_grad")

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
        self._overflow = torch.zeros(1, device=self._device)
        self._unscaled: list[_Gradients] = []
        run.defer(self._unscaled.clear)

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Predict in half precision."""
        with autocast(self._device, _DTYPES[self.dtype]):
            proceed()
            run.pred = in_single_precision(run.pred)

    def backward(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Take the gradient of the scaled loss."""
        call_with(run, proceed, loss=self.scaler.scale(run.loss))

    def finish_grad(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Take the scale off the gradient."""
        opts = optimizers.each(run.opt)
        self._unscale([group for opt in opts for group in opt.param_groups])
        proceed()

    def _unscale(self, param_groups: list[Any]) -> None:
        self._unscaled.append(_Gradients(param_groups))
        self.scaler.unscale_(self._unscaled[-1])  # pyright: ignore[reportArgumentType]

    def _unscaled_in_graph(self) -> None:
        """Let the scaler know what the graph found, by a gradient that is 0 or infinite."""
        witness = torch.zeros_like(self._overflow)
        witness.grad = self._overflow
        self._unscale([{"params": [witness]}])

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
        """The same, for the graph of a fused step."""
        if method == "predict":
            how = {"device": self._device, "dtype": _DTYPES[self.dtype]}
            return GraphPart(_in_half_precision, fixed=how)
        if not self.scaler.is_enabled():
            return GraphPart(_same_loss if method == "backward" else _same_gradients)
        scale = {"scale": self.scaler.scale(self._one)}
        if method == "backward":
            return GraphPart(_scaled, numbers=scale)
        overflow = {"overflow": self._overflow}
        return GraphPart(_unscaled, overflow, scale, done=self._unscaled_in_graph)

    def __repr__(self) -> str:
        return f"MixedPrecision({self.dtype!r})"


def _in_half_precision(
    predict: Callable[[Any, Any], Any],
    args: Any,
    named: Any,
    tensors: Any,
    numbers: Any,
    *,
    device: str,
    dtype: torch.dtype,
) -> Any:
    with autocast(device, dtype):
        return in_single_precision(predict(args, named))


def _same_loss(loss: Tensor, tensors: Any, numbers: Any) -> Tensor:
    return loss


def _same_gradients(grads: Any, tensors: Any, numbers: Any) -> Changes:
    return Changes()


def _scaled(loss: Tensor, tensors: Any, numbers: Mapping[str, Tensor]) -> Tensor:
    return loss * numbers["scale"].to(loss.dtype)


def _unscaled(
    grads: Mapping[str, Tensor], tensors: Mapping[str, Tensor], numbers: Mapping[str, Tensor]
) -> Changes:
    finite = torch.stack([grad.isfinite().all() for grad in grads.values()]).all()
    inverse = numbers["scale"].reciprocal().float()  # first in double precision, as torch does
    return Changes(
        {name: grad * inverse for name, grad in grads.items()},
        {"overflow": torch.where(finite, 0.0, torch.inf).expand_as(tensors["overflow"])},
        skips=~finite,
    )


class _Gradients:
    """What the scaler takes for an optimizer: all parameters that are trained, and their step."""

    step: Callable[[], None]

    def __init__(self, param_groups: list[Any]) -> None:
        self.param_groups = param_groups

"""What the next layer reads of a layer: its output, or what an activation makes of that."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, handle_torch_function

from lehr.base.hooks import hooked
from lehr.base.interrupts import heed, heeds_interrupts, interrupts_wait_in
from lehr.base.signals import patient
from lehr.init.layer_calls import Answered, first, first_output

RECTIFIERS = frozenset(
    (
        *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu"),
        *("gelu", "silu", "mish", "softplus", "hardswish", "clamp_min"),
    )
)
"""Functions that grow with what they are given: behind them, any size can be reached."""

THROUGH_ZERO = RECTIFIERS - {"softplus", "clamp_min"}
"""Those that are 0 at 0: behind them, any root mean square can be reached, too."""


@runtime_checkable
class Shifting(Protocol):
    """An activation that takes a mean away from its output, such as `lehr.models.GeneralReLU`."""

    def shift_(self, mean: Tensor) -> None:
        """Subtract so much more from now on."""
        ...


class Reader(TorchFunctionMode):
    """Runs a model up to where the output of one layer is ready for the next one.

    Where the output of the layer's first call goes into a rectifier, a module or a function, that
    is behind it; anywhere else it is the output itself. Saturating activations do not count: no
    weight, however large, gives unit variance behind a tanh.

    Args:
        layer: the module.
        model: the model that it is a part of.
        run: calls the model.

    Attributes:
        behind: whether there is a rectifier; known after the first reading.
        through_zero: whether it is one of `THROUGH_ZERO`; likewise.
        shifting: the rectifier, if it is a module that can be shifted.
        shift: by how much it was shifted; the caller's to keep.
        centre: mean of the layer's own output.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Tanh())
        >>> readers = [Reader(model[i], model, lambda: model(torch.ones(5, 2))) for i in (0, 2)]
        >>> [tuple(reader.read().shape) for reader in readers], [r.behind for r in readers]
        ([(5, 3), (5, 1)], [True, False])
    """

    def __init__(self, layer: nn.Module, model: nn.Module, run: Callable[[], object]) -> None:
        super().__init__()
        self.behind: bool | None = None
        self.through_zero = False
        self.shifting: Shifting | None = None
        self.shift, self.centre = 0.0, math.nan
        self._layer, self._run = layer, run
        self._shifts = [m for m in model.modules() if m is not layer and isinstance(m, Shifting)]
        self._output: Tensor | None = None
        self._within: nn.Module | None = None  # the module that shifts, while it is at work

    def read(self) -> Tensor:
        """What the next layer reads."""
        if self.behind is False:
            return self._own()
        self._output = self._within = None
        entered = (partial(m.register_forward_pre_hook, self._enter) for m in self._shifts)
        left = (first(module, self._leave) for module in self._shifts)
        hooks = [first(self._layer, self._keep), *entered, *left]
        try:
            with patient(), hooked(hooks), interrupts_wait_in(handle_torch_function), self:
                self._run()
        except Answered as answer:
            self.behind = True
            return answer.output
        finally:
            self._output = None
        self.behind = False
        return self._own()

    def _own(self) -> Tensor:
        output = first_output(self._layer, self._run)
        self.centre = _mean(output)
        return output

    def _keep(self, module: nn.Module, args: object, output: Tensor) -> None:
        if self._output is None:  # a rectifier may write into it
            self._output, self.centre = output, _mean(output)

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and self._output is not None and args[0] is self._output:
            self._within = module

    def _leave(self, module: nn.Module, args: object, output: Tensor) -> None:
        if module is self._within and isinstance(module, Shifting):
            self.shifting = module
            raise Answered(output)

    @heeds_interrupts
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        heed()
        given = self._output is not None and bool(args) and args[0] is self._output
        result = func(*args, **(kwargs or {}))
        kind = str(getattr(func, "__name__", "")).rstrip("_")
        if given and self._within is None and kind in RECTIFIERS:
            self.through_zero = kind in THROUGH_ZERO
            raise Answered(result)
        return result


def _mean(values: Tensor) -> float:
    return values.to(torch.promote_types(values.dtype, torch.float32)).mean().item()

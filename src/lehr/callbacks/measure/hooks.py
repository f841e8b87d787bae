"""Calls functions with what the layers of a model put out, and with the gradients of it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from lehr.base.hooks import hooked
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.nested import tensors_in
from lehr.callback import Callback
from lehr.events import Phase
from lehr.state.layers import layer_names, layers_of

if TYPE_CHECKING:
    from lehr.loop.run import Run

Look = Callable[[str, nn.Module, Any], Any]


class Hooks(Callback):
    """Hooks the layers while a fit lasts; however that ends, the hooks come off.

    Each function is called with the name of the layer, the layer, and

    - ``forward``: its output, whenever it was called;
    - ``backward``: the gradient with respect to its output; of several, one after the other.

    What a function returns takes the place of the output, or of that gradient; let it return
    nothing if it only looks. Outside a fit, ``with hooks.on(model):`` does the same.

    Args:
        forward: called after the layer was.
        backward: called when the gradient comes back to the layer.
        layers: names of modules, as in ``model.named_modules()``; None takes all modules that have
            no modules inside.

    Raises:
        TypeError: there is no function, or ``layers`` is no list.
        ValueError: at the start of a fit, if the model has no such layer.

    Example:
        >>> import torch
        >>> from lehr.testing import tiny_learner
        >>> shapes = {}
        >>> look = Hooks(lambda name, layer, output: shapes.update({name: tuple(output.shape)}))
        >>> learn = tiny_learner()
        >>> _ = learn.fit(1, callbacks=[look])
        >>> shapes
        {'0': (16, 4), '1': (16, 4), '2': (16, 2)}
        >>> with look.on(learn.model):
        ...     _ = learn.model(torch.zeros(5, 3))
        >>> shapes["2"]
        (5, 2)
    """

    phase = Phase.MEASURE
    state = ()
    by_length = False

    def __init__(
        self,
        forward: Look | None = None,
        backward: Look | None = None,
        *,
        layers: Sequence[str] | None = None,
    ) -> None:
        if not callable(forward) and not callable(backward):
            raise TypeError(
                f"Hooks needs a function to call; got forward={forward!r}, backward={backward!r}. "
                "Write e.g. Hooks(lambda name, layer, output: print(name, output.shape))."
            )
        self._at_output, self._at_gradient = forward, backward
        self.layers = layer_names(layers)

    def begin_fit(self, run: "Run") -> None:
        """Hook the layers of the run's model."""
        for register in self._registrations(run.model):
            run.defer(register().remove)

    @interrupts_wait_at_both_ends
    @contextmanager
    def on(self, model: nn.Module) -> Generator[None]:
        """A scope in which the layers of any model are hooked."""
        with hooked(self._registrations(model)):
            yield

    def _registrations(self, model: nn.Module) -> Iterator[Callable[[], RemovableHandle]]:
        for name, layer in layers_of(model, self.layers).items():
            yield partial(layer.register_forward_hook, partial(self._look, name))

    def _look(self, name: str, layer: nn.Module, args: Any, output: Any) -> Any:
        if self._at_output is not None:
            replaced = self._at_output(name, layer, output)
            output = output if replaced is None else replaced
        if self._at_gradient is not None:
            for tensor in tensors_in(output):
                if tensor.requires_grad:
                    tensor.register_hook(partial(self._at_gradient, name, layer))
        return output

    def __repr__(self) -> str:
        which = "" if self.layers is None else f", layers={self.layers!r}"
        return f"Hooks({self._at_output!r}, {self._at_gradient!r}{which})"

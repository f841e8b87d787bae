"""Trades time for memory: activations are computed again instead of kept."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lehr.base.recompute import forward_replaced, recomputed
from lehr.callback import Callback
from lehr.events import Phase
from lehr.state.entries import modules
from lehr.state.layers import layers_of
from lehr.state.wrappers import bare
from lehr.types import is_sequence

if TYPE_CHECKING:
    from lehr.loop.run import Run


class GradientCheckpointing(Callback):
    """Keeps no activations inside the chosen modules; the backward pass computes them again.

    Weights, losses and buffers have the same bits as without: the second forward pass of a module
    draws the same random numbers, runs in the same precision, and changes no statistics of
    BatchNorm. A training batch costs up to one forward pass more. Choose the blocks that the model
    repeats. The gain is small where one module has nearly all activations.

    Args:
        layers: the modules, by name: ``["blocks.0", "blocks.1"]``; or their class, such as
            ``torch.nn.TransformerEncoderLayer``, which means every module of it.

    Raises:
        TypeError: ``layers`` is neither names nor a class; at the start of a fit, a module has no
            ``forward`` that can be replaced.
        ValueError: at the start of a fit, nothing has that name or class.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> plain, sparing = tiny_learner(), tiny_learner([GradientCheckpointing(nn.Linear)])
        >>> plain.fit(1).history["loss"] == sparing.fit(1).history["loss"]
        True

    Reference:
        Chen et al. 2016, arXiv:1604.06174, section 4; by ``torch.utils.checkpoint``.
    """

    phase = Phase.PREPARE
    evaluates = True  # a rehearsal has to fit into memory, too
    state = ()
    by_length = False

    def __init__(self, layers: Sequence[str] | type[nn.Module]) -> None:
        self.layers: Sequence[str] | type[nn.Module] = layers
        if not is_sequence(layers) and not _is_class_of_modules(layers):
            names = f"[{layers!r}]" if isinstance(layers, str) else '["blocks.0", "blocks.1"]'
            raise TypeError(
                f"layers must be a list of names or a class of modules; got {layers!r}. "
                f"Write {names}, or e.g. torch.nn.TransformerEncoderLayer."
            )

    def begin_fit(self, run: "Run") -> None:
        """Let the modules forget, until the fit ends."""
        chosen = self._chosen(bare(run.model))
        scope = ExitStack()
        run.defer(scope.close)
        for module in chosen:
            forget = partial(recomputed, module, module.forward)
            scope.enter_context(forward_replaced(module, forget))

    def _chosen(self, model: nn.Module) -> list[nn.Module]:
        if isinstance(self.layers, type):
            named = ((name, module) for name, module in modules(model) if name)
            chosen = {name: module for name, module in named if isinstance(module, self.layers)}
            if not chosen:
                raise ValueError(
                    f"layers is {self.layers.__name__}, but {type(model).__name__} has no such "
                    "module inside. Name the modules, or choose their class."
                )
        else:
            chosen = layers_of(model, self.layers)
        for name, module in chosen.items():
            _check(name, module)
        return list(chosen.values())

    def __repr__(self) -> str:
        shown = self.layers.__name__ if isinstance(self.layers, type) else self.layers
        return f"GradientCheckpointing({shown})"


def _is_class_of_modules(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _check(name: str, module: nn.Module) -> None:
    kind = type(module).__name__
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        raise TypeError(
            f"layers names {name!r}, a {kind}, which has no forward of its own. Name the modules "
            f'in it, e.g. "{name}.{next(iter(dict(module.named_children())), 0)}".'
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"layers names {name!r}, a scripted module, whose forward cannot be replaced. Leave it "
            "out, or do not script it."
        )

"""What a callback does within a step, as a function that can be part of a compiled graph."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

_NONE: Mapping[str, Any] = {}  # nobody writes to it; torch's compiler takes no proxy


class Changes(NamedTuple):
    """What a function in the graph returns: tensors to put in the place of others, by name.

    Example:
        >>> import torch
        >>> Changes(logs={"grad_norm": torch.tensor(2.0)}).values == {}
        True
    """

    values: Mapping[str, Tensor] = _NONE
    """gradients, in ``finish_grad``; parameters and buffers, in ``after_step``"""
    tensors: Mapping[str, Tensor] = _NONE
    """those of the callback; lehr copies into them"""
    logs: Mapping[str, Tensor] = _NONE
    """numbers for `lehr.Run.log`"""
    skips: Tensor | None = None
    """in ``finish_grad``, whether there is to be no step: a truth value without dimensions. So that
    the run counts none, the callback's own ``step`` is named in ``in_graph``, and does not proceed
    then"""


class GraphPart(NamedTuple):
    """What a callback does in one of its methods, as a pure function of tensors.

    A callback returns it from `lehr.Callback.graph_part`, before every step, with the numbers of
    that step.

    Example:
        >>> import torch
        >>> def halved(grads, tensors, numbers):
        ...     return Changes({name: grad * numbers["share"] for name, grad in grads.items()})
        >>> part = GraphPart(halved, numbers={"share": 0.5})
        >>> part.function({"weight": torch.ones(1)}, part.tensors, part.numbers).values
        {'weight': tensor([0.5000])}
    """

    function: Callable[..., Any]
    """In ``finish_grad`` and ``after_step``, ``function(values, tensors, numbers, **fixed)``
    returns `Changes`, and changes nothing. ``values`` are the gradients of what is trained by the
    names of the parameters, in ``finish_grad``; in ``after_step``, the parameters and buffers of
    the model. In ``predict``, ``function(predict, args, named, tensors, numbers, **fixed)`` returns
    the prediction; ``predict(args, named)`` calls the model with arguments in order and by name.
    In ``compute_loss``, ``function(loss, pred, target, tensors, numbers, **fixed)`` returns the
    loss; ``loss(pred, target)`` is what it would be, one tensor or a dict of parts. In
    ``backward``, ``function(loss, tensors, numbers, **fixed)`` returns what the gradient is taken
    of. It must be a function of a module, so that the next step has the same: a lambda, an inner
    function or a partial that is made in each call is another one every time, which needs another
    graph; after a few of them, nothing is fused any more."""
    tensors: Mapping[str, Tensor] = _NONE
    """tensors that the callback keeps"""
    numbers: Mapping[str, float | Tensor] = _NONE
    """numbers that may be others in every step; the function gets tensors without dimensions, of
    double precision"""
    fixed: Mapping[str, Hashable] = _NONE
    """arguments that the graph holds: others need another graph"""
    done: Callable[[], None] | None = None
    """called where the method would have been, once the step is made"""

    @property
    def shape(self) -> tuple[Any, ...]:
        """What the graph holds of it."""
        return self.function, tuple(self.fixed.items())

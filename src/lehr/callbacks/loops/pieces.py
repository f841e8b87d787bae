"""A batch that goes through the model in pieces, one after the other."""

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lehr.base.call import arguments_of
from lehr.base.gradients import put_aside_gradients
from lehr.base.nested import describe, inside, map_tensors, rebuilt, tensors_in
from lehr.base.recompute import recomputed
from lehr.base.running import couples_items
from lehr.state.entries import modules
from lehr.types import is_sequence

if TYPE_CHECKING:
    from lehr.loop.run import Run


def in_pieces(
    module: nn.Module,
    forward: Callable[..., Any],
    items: int,
    size: int,
    *args: Any,
    **named: Any,
) -> Any:
    """What ``forward`` returns for all items, though it gets only so many of them at a time.

    No piece keeps its activations: it is computed again when its gradient is taken, with the same
    random numbers. So no more than one piece at a time is in memory.

    Args:
        module: whose forward it is.
        forward: is called with each piece.
        items: how many items there are; each tensor with that first dimension is cut.
        size: of the largest piece, in items.
        *args: what ``forward`` would be called with.
        **named: likewise, by name.

    Raises:
        TypeError: no tensor can be cut, or what comes back cannot be put together.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> in_pieces(layer, layer.forward, 5, 2, torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    count = -(-items // size)
    bounds = [i * items // count for i in range(count + 1)]  # none is much smaller than another
    spans = [slice(a, b) for a, b in pairwise(bounds)]
    cut = [(_cut(args, items, span), _cut(named, items, span)) for span in spans]
    outputs = [recomputed(module, forward, *some, **others) for some, others in cut]
    return _joined(outputs, [span.stop - span.start for span in spans])


def check_cut(xb: Any, items: int) -> None:
    """See that an input can be cut: what counts items is a tensor, and no list of tensors.

    Raises:
        TypeError: it cannot be told how.
    """
    args, named = arguments_of(xb)
    inputs = [*args, *named.values()]
    lists = [one for one in inputs if is_sequence(one) and next(tensors_in(one), None) is not None]
    if lists or not any(_has_items(tensor, items) for tensor in tensors_in(inputs)):
        raise TypeError(
            f"the batch of {items} items cannot be cut into micro-batches: that needs inputs that "
            f"are tensors whose first dimension counts items; the input is {describe(xb)}. Make "
            "the batches smaller, and attach Accumulate."
        )


def warn_of_coupling(model: nn.Module, size: int) -> None:
    """Warn of the first part of a model that couples the items of a batch while it trains."""
    for name, module in modules(model):
        if couples_items(module) and module.training:
            warnings.warn(
                f"batches are cut into micro-batches of {size} items, and {name or 'the model'} is "
                f"a {type(module).__name__} in training: its statistics are those of a piece, so "
                "the gradient is not exactly that of the whole batch. Use a norm that looks at "
                "one item at a time, such as GroupNorm.",
                stacklevel=2,
            )
            return


class Gradient:
    """The gradient of a batch, apart from what its window has: to be added to that, or dropped.

    If taking it fails for want of memory, the window has what it had.

    Args:
        run: the run.
        backward: takes it.
    """

    def __init__(self, run: "Run", backward: Callable[[], None]) -> None:
        self._held = [(p, p.grad) for p in run.trained_parameters()]
        self._put_back = put_aside_gradients(p for p, _ in self._held)
        try:
            backward()
        except torch.OutOfMemoryError:
            self.drop()
            raise

    def drop(self) -> None:
        """Let the window have what it had."""
        self._put_back()

    def add(self) -> None:
        """Add it to what the window has."""
        with torch.no_grad():
            for p, grad in self._held:
                if grad is not None:
                    p.grad = grad if p.grad is None else grad.add_(p.grad)


def _has_items(tensor: Tensor, items: int) -> bool:
    return tensor.ndim > 0 and tensor.size(0) == items


def _cut(value: Any, items: int, span: slice) -> Any:
    return map_tensors(lambda t: t[span] if _has_items(t, items) else t, value)


def _joined(outputs: Sequence[Any], sizes: Sequence[int]) -> Any:
    first = outputs[0]
    if isinstance(first, Tensor):
        if any(not _has_items(out, size) for out, size in zip(outputs, sizes, strict=True)):
            raise TypeError(
                f"what the model returns for {sizes[0]} items cannot be put together: in "
                f"{describe(first)} the first dimension does not count them. Let the model return "
                "outputs by items alone, and compute the loss in loss_func; or take MicroBatches "
                "out."
            )
        return torch.cat(list(outputs))
    held = inside(first)
    if held is None:
        return first
    columns = zip(*(inside(out) or () for out in outputs), strict=True)
    return rebuilt(first, [_joined(column, sizes) for column in columns])

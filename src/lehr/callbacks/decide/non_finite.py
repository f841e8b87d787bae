"""Where nan or infinity came from: the first layer that made one, and for which items."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lehr.base.call import call
from lehr.base.hooks import hooked
from lehr.base.nested import tensors_in
from lehr.base.numbers import not_finite
from lehr.loop.losses import loss_of
from lehr.record.unread import Place
from lehr.state import streams
from lehr.state.entries import ModelState, RandomState, modules
from lehr.state.probe import probe
from lehr.state.versions import versions_kept
from lehr.state.wrappers import bare_names

_SHOWN = 8


def origin(run: Any) -> str:
    """Where the loss of the batch that the run is at ceased to be finite, as a sentence.

    The batch passes through the model once more, with the random numbers of its batch, and every
    layer is looked at. Nothing of it is left.

    Args:
        run: between `after_loss` and the end of the batch.

    Returns:
        The sentence; empty if everything is finite this time.

    Example:
        >>> from types import SimpleNamespace
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1)
        >>> run.xb, run.yb = torch.tensor([[0.0, 1.0, 2.0], [0.0, torch.inf, 0.0]]), None
        >>> origin(run)
        'The input is not finite in item 1.'
    """
    model = run.model
    spoilt = [name for name, value in _values(model) if not _is_finite(value)]
    if spoilt:
        what = "Weights" if len(spoilt) > 1 else "The weight"
        return f"{what} {_listed(spoilt)} {'are' if len(spoilt) > 1 else 'is'} spoilt."
    if not all(map(_is_finite, tensors_in(run.xb))):
        return f"The input is not finite{_items(run.xb)}."
    everything = {"model": ModelState(model), "random": RandomState()}
    made: list[str] = []
    name_of = bare_names(model)
    looks = [
        partial(module.register_forward_hook, _Look(name, made), with_kwargs=True)
        for path, module in modules(model)
        for name in (name_of(path) or type(model).__name__,)
    ]
    with versions_kept(model), probe(everything), torch.no_grad(), hooked(looks):
        streams.rekeying(run.streams.key("batch", run.plan.first_epoch + run.epoch))(
            max(run.batch_index, 0)
        )
        pred = call(model, run.xb)
        return made[0] if made else _of_loss(run, pred)


def origin_of_past(run: Any, place: Place) -> str:
    """As `origin`, of a batch that is gone: its step is made again.

    Returns:
        The sentence; empty if no state from before that step is kept.
    """
    with suppress(ValueError, TypeError):  # no state is kept, or none so old; or no copy can be had
        return run.replay(place.step).origin
    return ""


class _Look:
    """A forward hook that notes what a layer makes of finite input, if that is not finite."""

    def __init__(self, name: str, made: list[str]) -> None:
        self.name, self.made = name, made

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not self.made and not all(map(_is_finite, tensors_in(output))):
            self.made.append(
                f"The first layer whose output is not finite is {self.name!r} "
                f"({type(module).__name__}){_items(output)}."
            )


def _of_loss(run: Any, pred: Any) -> str:
    """What the loss function makes of a finite prediction, one item at a time."""
    if not isinstance(pred, Tensor) or not isinstance(run.yb, Tensor):
        return ""
    if not pred.ndim or not run.yb.ndim or len(pred) != len(run.yb):
        return ""
    single = (loss_of(run.loss_func, pred[i : i + 1], run.yb[i : i + 1]) for i in range(len(pred)))
    bad = [i for i, loss in enumerate(single) if not _is_finite(loss)]
    if not bad:
        return ""
    words = f"The prediction is finite, the loss of it is not{_of(bad, len(pred))}."
    counted = not_finite([run.yb])
    return f"{words} The targets hold {counted}{_items(run.yb)}." if counted else words


def _values(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    name_of = bare_names(model)
    for path, parameter in model.named_parameters():
        yield name_of(path), parameter


def _is_finite(value: Tensor) -> bool:
    if not (value.is_floating_point() or value.is_complex()):
        return True
    return bool(torch.isfinite(value.detach()).all())


def _items(value: Any) -> str:
    """The items of a batch that are not finite, as far as its first dimension tells them."""
    for tensor in tensors_in(value):
        if not _is_finite(tensor) and tensor.ndim:
            each = torch.isfinite(tensor.detach()).reshape(len(tensor), -1).all(1)
            return _of([i for i in range(len(each)) if not each[i]], len(each))
    return ""


def _of(items: list[int], total: int) -> str:
    if len(items) == total > 1:
        return " in any item"
    return f" in item{'s' * (len(items) > 1)} {_listed(items)}"


def _listed(things: list[Any]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return ", ".join(map(str, things[:_SHOWN])) + more

"""A Learner to try things with: all that changes is copied, the data are shared."""

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from lehr.base.reach import reached
from lehr.base.shared_models import check_whole
from lehr.callback import Callback
from lehr.learner import Learner
from lehr.optim import optimizers
from lehr.state.copies import deep_copy


def twin(
    learn: Learner, callbacks: Iterable[Callback], data: Any = None
) -> tuple[Learner, list[Callback]]:
    """Copies of a Learner and of the callbacks of a fit, which know each other as these do.

    Args:
        learn: without its own callbacks in the copy.
        callbacks: those to copy.
        data: what takes the place of the Learner's data; by default they are shared.

    Raises:
        ValueError: the model is sharded.
        TypeError: something cannot be copied; or the loss function reaches what is trained through
            a function, which is its own copy, so that the copy would train with the model of this
            Learner.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> other, _ = twin(learn, [])
        >>> other.model is learn.model, other.data is learn.data
        (False, True)
    """
    check_whole(learn.model, "a copy of the Learner", "Try it with a Learner without shards.")
    callbacks = list(callbacks)
    shared: dict[int, Any] = {
        id(learn.data): learn.data if data is None else data,
        id(learn.run): None,
        id(learn.callbacks): [],
    }
    try:
        holders = (learn.model, learn.loss_func, *(m for cb in callbacks for m in cb.modules))
        other, own = deep_copy((learn, callbacks), *holders, shared=shared)
        opts = zip(optimizers.each(learn.opt), optimizers.each(other.opt), strict=True)
        for opt, its_copy in opts:
            _complete(opt, its_copy)
    except Exception as error:
        raise TypeError(
            "a copy of the model, optimizer, loss function and callbacks is needed to try this, "
            f"but copy.deepcopy says: {error}. Give the class that it names a __deepcopy__."
        ) from error
    _refuse_shared(learn, other)
    return other, own


def _refuse_shared(learn: Learner, other: Learner) -> None:
    """See that the loss function of the copy has nothing of what is trained here."""
    held = (*learn.model.parameters(), *optimizers.held_parameters(learn.opt))
    trained = {id(thing) for thing in (*learn.model.modules(), *held)}
    for path, thing in reached(other.loss_func):
        parts = (*thing.modules(), *thing.parameters()) if isinstance(thing, nn.Module) else [thing]
        if any(id(part) in trained for part in parts):
            raise TypeError(
                f"loss_func reaches what is trained ({path}) through a function, and a function "
                "cannot be copied with what it reaches: copies of the Learner would train with the "
                "loss of this model. Write it as an object, or a method of one, that holds the "
                "model; or as functools.partial(f, model)."
            )


def _complete(opt: Any, its_copy: Any) -> None:
    """Give the copy of an optimizer what torch leaves out: all but its groups and its state."""
    pairs = zip(optimizers.held_parameters(opt), optimizers.held_parameters(its_copy), strict=True)
    memo: dict[int, Any] = {id(p): q for p, q in pairs}
    known = ("param_groups", "state")
    memo |= {id(getattr(opt, n)): getattr(its_copy, n) for n in known if hasattr(opt, n)}
    memo[id(opt)] = its_copy
    own: dict[str, Any] = its_copy.__dict__
    attributes: dict[str, Any] = opt.__dict__
    for name, value in attributes.items():
        if name not in own and name != "step":  # a scheduler's wrapper, of this very optimizer
            own[name] = copy.deepcopy(value, memo)

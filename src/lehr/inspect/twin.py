"""A Learner to try things with: all that changes is copied, the data are shared."""

from collections.abc import Iterable
from typing import Any

from lehr.callback import Callback
from lehr.learner import Learner
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
        TypeError: something cannot be copied.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> other, _ = twin(learn, [])
        >>> other.model is learn.model, other.data is learn.data
        (False, True)
    """
    callbacks = list(callbacks)
    shared: dict[int, Any] = {
        id(learn.data): learn.data if data is None else data,
        id(learn.run): None,
        id(learn.callbacks): [],
    }
    try:
        holders = (learn.model, learn.loss_func, *(m for cb in callbacks for m in cb.modules))
        return deep_copy((learn, callbacks), *holders, shared=shared)
    except Exception as error:
        raise TypeError(
            "a copy of the model, optimizer, loss function and callbacks is needed to try this, "
            f"but copy.deepcopy says: {error}. Give the class that it names a __deepcopy__."
        ) from error

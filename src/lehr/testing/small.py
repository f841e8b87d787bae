"""Small things for people who test callbacks."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from lehr.callback import Callback
from lehr.data import DataBunch, Dataset, get_dls
from lehr.events import ACTIONS, EVENTS
from lehr.learner import Learner
from lehr.state.streams import forked


def tiny_learner(
    callbacks: Iterable[Callback] = (), *, items: int = 32, batch_size: int = 8, **kwargs: Any
) -> Learner:
    """A Learner that trains in a millisecond: two classes in three dimensions, always the same.

    Args:
        callbacks: attached to the Learner.
        items: number of training items; half as many validate.
        batch_size: of training; validation takes twice as many.
        kwargs: anything else that `Learner` takes.

    Example:
        >>> tiny_learner().fit(1).n_steps
        4
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(items + items // 2, 3, generator=generator)
    y = (x.sum(1) > 0).long()
    train, valid = Dataset(x[:items], y[:items]), Dataset(x[items:], y[items:])
    model = kwargs.pop("model", None)
    if model is None:  # one that was given may be an empty container
        with forked(key=0):
            model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    arguments: dict[str, Any] = {
        "opt": partial(torch.optim.SGD, lr=0.1),
        "loss_func": nn.functional.cross_entropy,
        "data": DataBunch(*get_dls(train, valid, batch_size), c=2),
        "seed": 0,
        "progress": False,
        **kwargs,
    }
    return Learner(model, callbacks=callbacks, **arguments)


class EventLog(Callback):
    """Writes down every event and action of a fit as it happens, in ``log``.

    Example:
        >>> spy = EventLog()
        >>> _ = tiny_learner([spy], items=8).fit(1)
        >>> spy.log[:5]
        ['begin_fit', 'begin_epoch', 'begin_train', 'one_batch', 'begin_batch']
    """

    evaluates = False

    def __init__(self) -> None:
        self.log: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in EVENTS:
            return lambda run: self.log.append(name)  # type: ignore[reportUnknownLambdaType]
        if name in ACTIONS:
            return partial(self._act, name)
        raise AttributeError(f"EventLog has no attribute {name!r}")

    def _act(self, name: str, run: Any, proceed: Callable[[], None]) -> None:
        self.log.append(name)
        proceed()

"""Lets several batches share an optimizer step."""

from typing import TYPE_CHECKING

import torch

from lehr.callback import Callback
from lehr.errors import positive_int
from lehr.events import Layer, Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Accumulate(Callback):
    """Steps once in ``batches`` batches, with the gradient of the one big batch that they make.

    That gradient is the mean over all items of the batches, weighted by the Learner's ``weight``:
    where the loss is a mean over unmasked tokens, each token counts alike. The last window of an
    epoch may be shorter, and is divided by what it holds. What couples the items of a batch is not
    covered: statistics of BatchNorm, or a loss that compares items.

    Args:
        batches: how many share a step; at least 1. None where ``items`` is given.
        items: step as soon as the batches hold so many items (the sum of their weights); at least
            1. How many steps an epoch has is then unknown beforehand: schedules need
            ``fit(steps=…)`` or ``steps_per_epoch=``.

    Raises:
        TypeError, ValueError: a number cannot be used, or not exactly one is given.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner(items=40).fit(1, callbacks=[Accumulate(2)])
        >>> run.n_iter, run.n_steps
        (5, 3)
    """

    phase = Phase.PREPARE
    layer = Layer.WINDOW
    state = ()
    by_length = False
    plans = True

    def __init__(self, batches: int | None = None, *, items: int | None = None) -> None:
        if (batches is None) == (items is None):
            raise ValueError(
                f"Accumulate needs a number of batches, or items; got batches={batches}, "
                f"items={items}. Write Accumulate(4) or Accumulate(items=256)."
            )
        self.batches = None if batches is None else positive_int("batches", batches, example=4)
        self.items = None if items is None else positive_int("items", items, example=256)
        self.batches_per_step = self.batches
        self.looks_on = self.items is None  # then it does nothing within a step

    def begin_batch(self, run: "Run") -> None:
        """Say whether this batch is the last of its window, if batches are counted."""
        if run.training and self.batches is not None:
            run.closes = run.window.batches + 1 >= self.batches

    def after_loss(self, run: "Run") -> None:
        """Say whether this batch is the last of its window, if items are counted."""
        if run.training and self.items is not None:
            items = run.window.weight + run.weight
            if run.engine.world > 1:
                items = run.engine.sum(torch.tensor(items)).item()
            run.closes = items >= self.items

    def __repr__(self) -> str:
        inner = self.batches if self.items is None else f"items={self.items}"
        return f"Accumulate({inner})"

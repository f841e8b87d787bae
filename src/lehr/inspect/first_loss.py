"""The loss of the first training batch, as the callbacks of a Learner would have it."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor, nn

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.modes import switch_dropout_off
from lehr.base.nested import item_count
from lehr.callback import Callback
from lehr.data import DataBunch
from lehr.events import CancelFit, Layer, Phase
from lehr.learner import Learner
from lehr.loop import arguments
from lehr.loop.inventory import rehearses
from lehr.loop.loop import Loop
from lehr.loop.run import Run
from lehr.loop.undisturbed import same_attributes


class FirstLoss(Callback):
    """Lets a model, in the place of the Learner's, meet the first batch of a fit, and its loss.

    The callbacks that take part are those of `lehr.Learner.rehearse`; another ``forward`` that one
    of them gives to a layer, to save memory, is left out. The fit ends when the loss is there,
    before its gradient is computed. Afterwards everything is as before.

    Args:
        learn: the Learner; its model is not called.
        model: what is called instead, once, in training mode without dropout.
        around: opens a scope around that call.
        items: as many as the whole batch has.

    Attributes:
        pred: what the model returned; None if it was not called.
        loss: with its graph; None if there is none of the whole batch.
        parts: whether the model was given something other than the whole batch, at once.

    Example:
        >>> from contextlib import nullcontext
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> first = FirstLoss(learn, learn.model, nullcontext, 8)
        >>> first.loss.item() == learn.fit(1).history["loss"][0]
        True
    """

    phase = Phase.REPORT
    layer = Layer.CLIP
    after = ("Callback",)  # nearest to the model, and the last to see its loss
    state = ()

    def __init__(
        self,
        learn: Learner,
        model: nn.Module,
        around: Callable[[], AbstractContextManager[Any]],
        items: int,
    ) -> None:
        self.model, self.around, self.items = model, around, items
        self.pred: Any = None
        self.loss: Tensor | None = None
        self.calls, self.parts = 0, False
        self._forwards = _forwards(model)
        taking_part = [
            callback for callback in arguments.checked(learn.callbacks) if rehearses(callback)
        ]
        length = arguments.check_length(None, 1, None)
        with learn.probe(), same_attributes(learn, taking_part):
            everybody = [*taking_part, self]
            data = DataBunch(learn.data.train_dl)
            plan = learn.planned(data, everybody, seed=learn.seed, tells=False, **length)
            run = Run(learn, plan, everybody)
            run.model = model
            Loop(run).fit()

    def begin_batch(self, run: Run) -> None:
        """Switch dropout off."""
        switch_dropout_off(self.model)

    def predict(self, run: Run, proceed: Callable[[], None]) -> None:
        """See what the model is given and returns."""
        self.calls += 1
        self.parts = self.calls > 1 or item_count(run.xb) != self.items
        if self.parts:
            raise CancelFit("not the whole batch at once")
        with _with_forwards(self._forwards), self.around():
            proceed()
        self.pred = run.pred

    def after_loss(self, run: Run) -> None:
        """Keep the loss, and end."""
        if self.calls == 1:
            self.loss = run.loss
        raise CancelFit("the loss is known")

    def after_batch(self, run: Run) -> None:
        """End also where a callback takes the place of the whole batch."""
        raise CancelFit("the batch is over")


def _forwards(model: nn.Module) -> dict[nn.Module, Any]:
    """The ``forward`` that each module has of its own; None if it has that of its class."""
    return {module: vars(module).get("forward") for module in model.modules()}


@interrupts_wait_at_both_ends
@contextmanager
def _with_forwards(wanted: Mapping[nn.Module, Any]) -> Generator[None]:
    """A scope in which each module has the ``forward`` that is wanted."""
    now = {module: vars(module).get("forward") for module in wanted}
    others = [module for module in wanted if now[module] is not wanted[module]]
    try:
        _set_forwards(others, wanted)
        yield
    finally:
        _set_forwards(others, now)


def _set_forwards(modules: Iterable[nn.Module], forwards: Mapping[nn.Module, Any]) -> None:
    for module in modules:
        vars(module).pop("forward", None)
        if forwards[module] is not None:
            vars(module)["forward"] = forwards[module]

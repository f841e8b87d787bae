"""The step as PyTorch's users write it: predict, loss, backward, step, zero."""

from collections.abc import Callable
from typing import Any, final

from torch import Tensor

from lehr.base.call import arguments_of
from lehr.events import ACTIONS
from lehr.loop.loss_parts import summed
from lehr.loop.losses import Wanted, missing_target, wanted_by
from lehr.loop.run import Run
from lehr.optim import optimizers


@final
class EagerStep:
    """Each method is what an action does where no callback wraps it. Without the branches it reads

    .. code-block:: python

        run.pred = run.model(run.xb)
        run.loss = run.loss_func(run.pred, run.yb)
        run.loss.backward()
        run.opt.step()
        run.opt.zero_grad()
    """

    __slots__ = ("_asked", "_wanted", "run")

    def __init__(self, run: Run) -> None:
        self.run = run
        self._asked: Callable[..., Any] = run.loss_func
        self._wanted: Wanted = wanted_by(run.loss_func)

    def actions(self) -> dict[str, Callable[[], None]]:
        """The methods by the name of their action; `one_batch` is the loop's own."""
        actions = {action: getattr(self, action) for action in ACTIONS if action != "one_batch"}
        if optimizers.may_skip(self.run.opt):
            actions["step"] = self.step_unless_skipped
        return actions

    def predict(self) -> None:
        """Call the model on the input, whatever that is made of."""
        run = self.run
        if isinstance(run.xb, Tensor):
            run.pred = run.model(run.xb)
        else:
            args, named = arguments_of(run.xb)
            run.pred = run.model(*args, **named)

    def compute_loss(self) -> None:
        """Compare the prediction with the target, if there is one and it is wanted."""
        run = self.run
        loss_func, yb = run.loss_func, run.yb
        if loss_func is not self._asked:  # a callback has replaced it
            self._asked, self._wanted = loss_func, wanted_by(loss_func)
        if yb is not None and self._wanted.target:
            loss = loss_func(run.pred, yb)
        elif self._wanted.always:
            raise missing_target(loss_func)
        else:
            loss = loss_func(run.pred)
        if isinstance(loss, Tensor):
            run.loss = loss
        else:
            run.loss, run.loss_parts = summed(loss)

    def backward(self) -> None:
        """Add the batch's share of the window's gradient."""
        self.run.window.share(self.run).backward()

    def finish_grad(self) -> None:
        """The gradient is the window's mean already; callbacks unscale, transform and clip it."""

    def step(self) -> None:
        """Let every optimizer step."""
        optimizers.step(self.run.opt)
        self.run.stepped = True

    def step_unless_skipped(self) -> None:
        """Let every optimizer step, and ask whether it did, where one of them can tell."""
        self.step()
        self.run.stepped = not optimizers.all_skipped(self.run.opt)

    def zero_grad(self) -> None:
        """Clear the gradients."""
        optimizers.clear_gradients(self.run.opt)

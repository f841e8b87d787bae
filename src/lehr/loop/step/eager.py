"""The step as PyTorch's users write it: predict, loss, backward, step, zero."""

from collections.abc import Callable
from typing import final

from torch import Tensor
from torch.optim import Optimizer

from lehr.base.call import arguments_of
from lehr.events import ACTIONS
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

    __slots__ = ("run",)

    def __init__(self, run: Run) -> None:
        self.run = run

    def actions(self) -> dict[str, Callable[[], None]]:
        """The methods by the name of their action; `one_batch` is the loop's own."""
        return {action: getattr(self, action) for action in ACTIONS if action != "one_batch"}

    def predict(self) -> None:
        """Call the model on the input, whatever that is made of."""
        run = self.run
        if isinstance(run.xb, Tensor):
            run.pred = run.model(run.xb)
        else:
            args, named = arguments_of(run.xb)
            run.pred = run.model(*args, **named)

    def compute_loss(self) -> None:
        """Compare the prediction with the target, if there is one."""
        run = self.run
        if run.yb is None:
            run.loss = run.loss_func(run.pred)
        else:
            run.loss = run.loss_func(run.pred, run.yb)
        if run.loss is None:
            raise TypeError(
                "loss_func must return the loss, a tensor of one number; it returned None. Is "
                "there a return at its end?"
            )

    def backward(self) -> None:
        """Add the batch's share of the window's gradient."""
        self.run.window.share(self.run).backward()

    def finish_grad(self) -> None:
        """The gradient is the window's mean already; callbacks unscale, transform and clip it."""

    def step(self) -> None:
        """Let every optimizer step."""
        run = self.run
        if isinstance(run.opt, Optimizer):
            run.opt.step()
        else:
            optimizers.step(run.opt)
        run.stepped = True

    def zero_grad(self) -> None:
        """Clear the gradients."""
        optimizers.clear_gradients(self.run.opt)

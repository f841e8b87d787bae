"""Steps with optimizers that ask for the loss and its gradient anew."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from lehr.callback import Callback
from lehr.errors import did_you_mean
from lehr.events import Layer, Phase
from lehr.optim import optimizers

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Closure(Callback):
    """Gives the optimizer's ``step`` a closure, as LBFGS, SAM and their like need.

    The closure is `run.regrad <lehr.Run.regrad>`: it clears the gradients, takes the batches of the
    update window through the model, the loss and ``backward`` once more, at the weights as they are
    then and with the same random numbers, and returns the mean loss. So gradients are averaged and
    clipped as for any other optimizer. When ``step`` begins, the gradients are there already.

    Args:
        opt: name of the only optimizer that gets a closure, where there are several; by default
            each gets one.

    Raises:
        ValueError: at the start of a fit, if there is no optimizer of that name.

    Example:
        >>> import torch
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner([Closure()], opt=lambda params: torch.optim.LBFGS(params, lr=0.1))
        >>> losses = learn.fit(5).history["train_loss"]
        >>> losses[-1] < 0.1 < losses[0]
        True
    """

    phase = Phase.PREPARE
    layer = Layer.CLIP  # what others do around a step stays around it
    evaluates = True  # a rehearsal steps as the fit would
    regrads = True
    state = ()
    by_length = False

    def __init__(self, opt: str | None = None) -> None:
        self.opt = opt

    def begin_fit(self, run: "Run") -> None:
        """See that the optimizer is there."""
        names = [name for name in optimizers.by_name(run.opt) if name]
        if self.opt is not None and self.opt not in names:
            raise ValueError(
                f"opt={self.opt!r} is no optimizer of this Learner. "
                f"{did_you_mean(self.opt, names) if names else 'It has one; leave opt out.'}"
            )

    def step(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Let every optimizer step, with a closure."""
        for name, opt in optimizers.by_name(run.opt).items():
            if self.opt in (None, name):
                cast("Any", opt).step(run.regrad)
            else:
                opt.step()
        run.stepped = True

    def __repr__(self) -> str:
        return "Closure()" if self.opt is None else f"Closure({self.opt!r})"

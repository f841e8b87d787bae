"""Leaves out residual branches at random, in training."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lehr.base.nested import describe
from lehr.base.running import has_statistics
from lehr.callback import Callback
from lehr.errors import share
from lehr.events import Phase
from lehr.optim.parts import is_path
from lehr.state.entries import modules
from lehr.state.wrappers import bare

if TYPE_CHECKING:
    from lehr.loop.run import Run


class StochasticDepth(Callback):
    r"""Trains with residual branches left out at random; of each item others.

    The output of branch l of L, in the order of ``model.named_modules()``, is set to 0 for an item
    with a chance of :math:`p\,l / L`, and else divided by one minus that. So early blocks, on which
    the others build, are seldom left out. The branches are hooked while the fit lasts; the model
    itself, its state and its evaluation stay as they are.

    The chances are drawn from torch's default generators, as dropout draws.

    Args:
        p: the chance that the last branch is left out, from 0 to 1; can be scheduled as
            ``"callbacks.stochastic_depth.p"``.
        branches: paths of the modules whose output is added to what passes by, in which ``*``
            stands for any one name; the last layer of a branch will do. ``"*.body"`` are the
            branches of `lehr.models.resnet`; in torchvision's they are ``"layer*.*.bn2"`` or
            ``"layer*.*.bn3"``. A norm whose statistics `Freeze` keeps is left out as others are.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if no module has
            such a name; in training, if a branch returns no tensor.
        RuntimeError: no branch is called, or the model was compiled and called before the fit, and
            does not see the hooks.

    Example:
        >>> from torch import nn, optim
        >>> from lehr import Learner, data, models
        >>> model = models.resnet(1, 10, widths=(4, 8))
        >>> opt, loss_func = optim.SGD(model.parameters(), lr=0.1), nn.functional.cross_entropy
        >>> depth = StochasticDepth(0.2)
        >>> learn = Learner(model, opt, loss_func, data.digits(), [depth], progress=False)
        >>> learn.fit(steps=2).n_steps, depth.names
        (2, ('3.body', '4.body'))

    Reference:
        Huang et al. 2016, arXiv:1603.09382, section 3, with the linear rule of equation 4. There, a
        branch is left out for a whole batch, and scaled in evaluation; here, for single items, and
        scaled in training.
    """

    phase = Phase.PREPARE
    evaluates = True  # a rehearsal trains as the fit would; a module that evaluates stays as it is
    state = ()
    by_length = False

    def __init__(self, p: float = 0.2, branches: str | Sequence[str] = "*.body") -> None:
        self.p = share("p", p, example=0.2)
        self.branches = (branches,) if isinstance(branches, str) else tuple(branches)
        if unfit := [name for name in self.branches if not isinstance(name, str)]:
            raise TypeError(
                f"branches must be paths of modules; got {unfit[0]!r}. Write e.g. "
                'branches="*.body".'
            )

    def begin_fit(self, run: "Run") -> None:
        """Hook the branches."""
        model = bare(run.model)
        known = {name: module for name, module in modules(model) if name}
        self.names = tuple(n for n in known if any(is_path(n, b) for b in self.branches))
        if not self.names:
            raise ValueError(
                f"branches={self.branches} names no module of {type(run.model).__name__}. Give "
                "the paths of the modules whose output is added, in which * stands for any one "
                "name, as in model.named_modules(): "
                f"{', '.join([*known][:8])}{', …' if len(known) > 8 else ''}."
            )
        for number, name in enumerate(self.names, 1):
            # A norm that is frozen is in evaluation mode, though its branch is trained.
            says = model if has_statistics(known[name]) else known[name]
            hook = partial(self._drop, number / len(self.names), name, says)
            run.defer(known[name].register_forward_hook(hook).remove)

    def begin_train(self, run: "Run") -> None:
        """Wait for a branch to be called."""
        self._called = False

    def after_pred(self, run: "Run") -> None:
        """See that one was."""
        if run.training and not self._called:
            raise RuntimeError(
                f"none of the branches ({', '.join(self.names)}) was called. Name modules that the "
                "model calls. If it was compiled and called before the fit, it does not see the "
                "hooks: call torch.compiler.reset() first."
            )

    def _drop(
        self, part: float, name: str, says: nn.Module, module: nn.Module, args: Any, output: Any
    ) -> Any:
        self._called = True
        if not says.training:
            return None  # the output stays
        if not isinstance(output, Tensor):
            raise TypeError(
                f"the module {name!r} must return a tensor, which is added to what passes by; it "
                f"returned {describe(output)}. Name the module inside it that does."
            )
        return dropped(output, self.p * part)

    def __repr__(self) -> str:
        return f"StochasticDepth({self.p}, {list(self.branches)})"


def dropped(branch: Tensor, p: float) -> Tensor:
    r"""The branch without some items: 0 with a chance of ``p``, else divided by :math:`1 - p`.

    Args:
        branch: ``(batch, …)``.
        p: from 0 to 1.

    Returns:
        A tensor of the same shape; ``branch`` itself if ``p`` is 0.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> dropped(torch.ones(6), 0.5)
        tensor([0., 2., 0., 0., 0., 2.])
    """
    if p == 0:
        return branch
    stays = torch.rand(len(branch), device=branch.device) >= p
    shape = (-1, *[1] * (branch.ndim - 1))
    return torch.where(stays.view(shape), branch / (1 - p) if p < 1 else branch, 0)

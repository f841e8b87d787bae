"""Switches optimizers that keep two sets of weights, one to train and one to measure."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from lehr.callback import Callback
from lehr.events import Phase
from lehr.optim import optimizers
from lehr.state.versions import versions_kept

if TYPE_CHECKING:
    from lehr.loop.run import Run


class OptimizerModes(Callback):
    """Calls ``train()`` and ``eval()`` of optimizers that have them, as those of schedulefree do.

    You need not attach it: a Learner does so if one of its optimizers has both methods. They are in
    training mode while the model trains, and in evaluation mode for every validation and after the
    fit. So the weights that were measured are those that are kept: by `EarlyStopping`, in a
    checkpoint of the end of an epoch, and in the model when the fit is over. The calls come as in a
    loop of your own, and what they round is rounded there as well.

    Args:
        put_back: for a pass that leaves no trace: when it is over, weights and modes are bit for
            bit as before. It takes a copy of the weights.

    Attributes:
        training: whether the optimizers are in training mode; None as long as that is not known.

    Example:
        >>> import torch
        >>> from lehr.testing import tiny_learner
        >>> class Switched(torch.optim.SGD):
        ...     def train(self): print("train")
        ...     def eval(self): print("eval")
        >>> learn = tiny_learner(opt=lambda parameters: Switched(parameters, lr=0.1))
        >>> _ = learn.fit(2)
        train
        eval
        train
        eval
    """

    phase = Phase.PREPARE
    evaluates = False  # a pass that only looks has one of its own, which puts everything back
    state = ("training",)
    by_length = False

    def __init__(self, *, put_back: bool = False) -> None:
        self.put_back = put_back
        self._opts: list[Any] = []
        self._training: bool | None = None
        self._in_pass = False

    @contextmanager
    def around_fit(self, run: "Run") -> Generator[None]:
        """Know the optimizers; in the end, leave them in evaluation mode, or as they were."""
        self._opts = optimizers.with_modes(run.opt)
        self._training, self._in_pass = None, False
        try:
            if self.put_back:
                with versions_kept(run.model):
                    undo = _keep(self._opts)
                    try:
                        yield
                    finally:
                        undo()
            else:
                try:
                    yield
                finally:
                    self.after_fit(run)
        finally:
            self._opts = []

    def begin_train(self, run: "Run") -> None:
        """Train with the weights that are made for it."""
        self._switch(training=True)
        self._in_pass = True
        run.defer(self._leave_pass)

    def _leave_pass(self) -> None:
        self._in_pass = False

    def begin_validate(self, run: "Run") -> None:
        """Measure with the others; in the middle of an epoch, go on with the first ones after."""
        if self._in_pass:
            run.defer(partial(self._switch, training=True))
        self._switch(training=False)

    def after_fit(self, run: "Run") -> None:
        """Leave the weights that are to be used, before others are put in their place."""
        if self._training:
            self._switch(training=False)

    def _switch(self, *, training: bool) -> None:
        if training is not self._training:
            for opt in self._opts:
                opt.train() if training else opt.eval()
            self._training = training

    @property
    def training(self) -> bool | None:
        """Whether they are in training mode; to set it leaves the weights as they are."""
        return self._training

    @training.setter
    def training(self, training: bool | None) -> None:
        # What is loaded are weights and an optimizer's state of that mode, but not every optimizer
        # has its mode in its state.
        if self._opts and training is not None and training is not self._training:
            put_back = _kept_weights(self._opts)
            self._switch(training=training)
            put_back()
        self._training = training


def _kept_weights(opts: list[Any]) -> Callable[[], None]:
    """A function that gives the parameters of optimizers the values that they have now."""
    held = [(p, p.detach().clone()) for opt in opts for p in optimizers.held_parameters(opt)]

    def put_back() -> None:
        with torch.no_grad():
            for p, values in held:
                p.copy_(values)

    return put_back


def _keep(opts: list[Any]) -> Callable[[], None]:
    """A function that puts weights and modes back; a mode is in the groups or an attribute."""
    weights = _kept_weights(opts)
    groups = [(group, dict(group)) for opt in opts for group in opt.param_groups]
    attributes: list[tuple[Any, dict[str, Any]]] = [(opt, dict(opt.__dict__)) for opt in opts]

    def put_back() -> None:
        for opt, values in attributes:
            vars(opt).update(values)
        for group, values in groups:
            group.update(values)
        weights()

    return put_back

"""Lets a model learn from an average of itself."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from lehr.base.running import with_statistics
from lehr.base.shared_models import check_whole
from lehr.callback import Callback
from lehr.callbacks.loops.taught import Taught, check_alike, checked_distance
from lehr.errors import real_number, share
from lehr.events import Layer, Phase
from lehr.optim.average import Average
from lehr.state.copies import deep_copy
from lehr.state.wrappers import bare

if TYPE_CHECKING:
    from lehr.loop.run import Run


class EMATeacher(Taught, Callback):
    r"""Adds the distance from a teacher whose weights are a moving average of the model's.

    .. math:: L' = L + w\,d\bigl(f_θ(x), f_{θ'}(x)\bigr), \quad
              θ'_t = α\,θ'_{t-1} + (1 - α)\,θ_t

    The teacher begins as a copy of the model, without what other callbacks do to the model. It is
    in training mode, so dropout draws other numbers for it, and its buffers, such as the statistics
    of BatchNorm, are its own; norms that `Freeze` keeps in evaluation mode are so in the teacher,
    too. d is the mean squared difference of the probabilities; it is recorded as ``ema_distance``.
    Validation is of the model, and without the second term; the average is in ``teacher``.

    Args:
        decay: α, from 0 to 1.
        weight: w, at least 0. Usually it rises from 0 at first.
        distance: d, ``(student, teacher) -> number``, a mean as of `Distillation`, such as
            ``torch.nn.functional.mse_loss``; None as above, for outputs ``(batch, classes, …)``.

    Both numbers can be scheduled: ``ParamScheduler("callbacks.ema_teacher.weight", …)``.

    Attributes:
        teacher: the module; made at the start of a fit. Its average is kept in float32, also where
            the model has half precision.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if the model has
            no shapes yet, is sharded or cannot be copied; in training, as of `Distillation`.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> plain, taught = tiny_learner(), tiny_learner([EMATeacher(0.9, weight=2.0)])
        >>> plain.fit(1).model[0].weight.equal(taught.fit(1).model[0].weight)
        False

    Reference:
        Tarvainen and Valpola 2017, arXiv:1703.01780, section 2.
    """

    phase = Phase.MEASURE
    layer = Layer.TRANSFORM
    state = ("teacher", "average")
    by_length = False
    column = "ema_distance"

    def __init__(
        self,
        decay: float = 0.99,
        *,
        weight: float = 1.0,
        distance: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        self.decay = share("decay", decay, example=0.99)
        if (number := real_number("weight", weight)) < 0:
            raise ValueError(f"weight must be at least 0; got {weight}. Use e.g. weight=1.0.")
        self.weight = number
        self.distance = checked_distance(distance)
        self.teacher: Any = None

    @contextmanager
    def around_fit(self, run: "Run") -> Generator[None]:
        """Make the teacher while the model has no hooks of other callbacks."""
        if run.plan.trains:
            self._make(bare(run.model))
        yield

    def _make(self, model: Any) -> None:
        if any(is_lazy(p) for p in model.parameters()):
            raise ValueError(
                "the model must have its shapes before a teacher is copied from it. Call the model "
                "on one batch before the fit."
            )
        todo = "Give Distributed() without shard; or EMA, if it is the average that is wanted."
        check_whole(model, "the teacher, a copy,", todo)
        self.teacher = deep_copy(model, model).requires_grad_(False)
        self.modules = [self.teacher]

    def begin_fit(self, run: "Run") -> None:
        """Begin the average, where the teacher is by now."""
        self._warned = False
        if run.plan.trains:
            self.average = Average(self.teacher, buffers=False)

    def begin_train(self, run: "Run") -> None:
        """Let the teacher draw its own random numbers."""
        self.teacher.train()
        models = with_statistics(bare(run.model)), with_statistics(self.teacher)
        self._norms = list(zip(*models, strict=True))
        self._averages = [(p, self.average.tensors[n]) for n, p in self.teacher.named_parameters()]

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Ask the teacher, too, whose norms are in the mode of the model's: `Freeze` sets that."""
        if run.training:
            for own, its in self._norms:
                its.training = own.training
        super().predict(run, proceed)

    @torch.no_grad()
    def after_step(self, run: "Run") -> None:
        """Let the teacher follow."""
        self.average.add(run.model, 1 - self.decay)
        for p, average in self._averages:
            p.copy_(average)

    def measured(self, student: Any, teacher: Any) -> Tensor:
        """How far the outputs of the student are from the teacher's."""
        if self.distance is not None:
            return self.distance(student, teacher)
        check_alike(student, teacher)
        return F.mse_loss(student.softmax(1), teacher.to(student).softmax(1))

    def summed(self, loss: Any, distance: Tensor) -> Any:
        """The loss that is trained."""
        return loss + self.weight * distance

    def __repr__(self) -> str:
        return f"EMATeacher({self.decay}, weight={self.weight})"

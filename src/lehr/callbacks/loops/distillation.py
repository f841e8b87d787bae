"""Lets a model learn from what another one predicts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from lehr.base.modes import keep_modes
from lehr.callback import Callback
from lehr.callbacks.loops.taught import Taught, check_alike, checked_distance
from lehr.errors import above_zero, share
from lehr.events import Layer, Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Distillation(Taught, Callback):
    r"""Trains on the targets, and on the outputs of a teacher that stays as it is.

    .. math:: L' = (1 - w)\,L + w\,T^2\,\mathrm{KL}\bigl(
              \mathrm{softmax}(t / T) \,\Vert\, \mathrm{softmax}(s / T)\bigr)

    s and t are the outputs of student and teacher for the same input, mixed or not, of shape
    ``(batch, classes, …)``. The teacher is in evaluation mode. The second term without w is
    recorded as ``distance``. Validation is left alone.

    Args:
        teacher: a module that is called as the model is. `Device` moves it.
        weight: w, from 0 to 1.
        temperature: T, above 0; with a higher one the teacher is less sure.
        distance: ``(student, teacher) -> number``, instead of the term with T; so any outputs will
            do. A mean over what the Learner's ``weight`` counts: by default the items. Where
            batches share a step, each distance counts by that weight, as its loss does.

    Both numbers can be scheduled, as ``"callbacks.distillation.weight"``.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if the optimizers
            hold a parameter of the teacher; in training, if outputs are no tensors of one shape and
            no ``distance`` is given.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> teacher = tiny_learner().model
        >>> run = tiny_learner(seed=1).fit(1, callbacks=[Distillation(teacher, weight=0.9)])
        >>> len(run.history["distance"])
        4

    Reference:
        Hinton et al. 2015, arXiv:1503.02531, section 2.
    """

    phase = Phase.PREPARE
    layer = Layer.TRANSFORM
    state = ()
    by_length = False

    def __init__(
        self,
        teacher: nn.Module,
        *,
        weight: float = 0.5,
        temperature: float = 2.0,
        distance: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        if not isinstance(teacher, nn.Module):
            raise TypeError(
                f"teacher must be a module; got {teacher!r}. Give a trained model, e.g. the model "
                "of another Learner."
            )
        self.teacher, self.modules = teacher, [teacher]
        self.weight = share("weight", weight)
        self.temperature = above_zero("temperature", temperature)
        self.distance = checked_distance(distance)

    def begin_fit(self, run: "Run") -> None:
        """See that the teacher stays as it is."""
        self._warned = False
        trained = {id(p) for p in run.trained_parameters()} if run.plan.trains else set[int]()
        if any(id(p) in trained for p in self.teacher.parameters()):
            raise ValueError(
                "teacher has parameters that this fit trains, so it would not stay as it is. Give "
                "a copy, e.g. copy.deepcopy(model), or use EMATeacher, whose teacher follows."
            )

    def begin_train(self, run: "Run") -> None:
        """Put the teacher into evaluation mode, until the pass is over."""
        run.defer(keep_modes(self.teacher))
        self.teacher.eval()

    def measured(self, student: Any, teacher: Any) -> Tensor:
        """How far the outputs of the student are from the teacher's."""
        if self.distance is not None:
            return self.distance(student, teacher)
        return divergence(student, teacher, self.temperature)

    def summed(self, loss: Any, distance: Tensor) -> Any:
        """The loss that is trained."""
        return (1 - self.weight) * loss + self.weight * distance

    def __repr__(self) -> str:
        return f"{type(self).__name__}(weight={self.weight})"


def divergence(student: Any, teacher: Any, temperature: float) -> Tensor:
    """The divergence of softened outputs, times the square of the temperature; a mean over items.

    Args:
        student: logits of shape ``(batch, classes, …)``.
        teacher: logits of the same shape.
        temperature: above 0.

    Raises:
        TypeError: they are no tensors of one shape.

    Example:
        >>> import torch
        >>> divergence(torch.zeros(2, 3), torch.ones(2, 3), 2.0)
        tensor(0.)
    """
    check_alike(student, teacher)
    log_s, log_t = ((out / temperature).log_softmax(1) for out in (student, teacher.to(student)))
    each = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(1)
    return temperature**2 * each.mean()

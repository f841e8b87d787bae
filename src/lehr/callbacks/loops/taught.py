"""What callbacks have in common that compare the model with a teacher."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lehr.base.autocast import in_single_precision
from lehr.base.call import call
from lehr.base.nested import describe, item_count

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Taught:
    """The half of a callback that adds the distance from a teacher's outputs to the loss.

    The other half has the ``teacher``; ``measured(student, teacher)``, the distance of two outputs;
    and ``summed(loss, distance)``, the loss that is trained.

    Where batches share a step, a distance counts as much as the loss of its batch: by the Learner's
    ``weight``. With a weight that counts something else than items, such as unmasked tokens, give
    ``distance=``, a mean over the same; else a warning says so.

    Attributes:
        column: what the distance is recorded as.
        distance: the function that was given, or None.
    """

    column = "distance"
    teacher: Any
    distance: Callable[[Any, Any], Tensor] | None
    _target: Any = None
    _distance: Any = None
    _warned = False

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Ask the teacher, too."""
        proceed()
        if run.training:
            with torch.no_grad():
                self._target = in_single_precision(call(self.teacher, run.xb))

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Add the distance from the teacher to the loss."""
        proceed()
        if run.training:
            distance = self.measured(run.pred, self._target)
            self._distance = distance.detach()
            if not self._warned and self.distance is None:
                self._warn_of_weights(run)
            scale = 1 if run.plan.loss_is_mean else run.weight
            run.loss = self.summed(run.loss, distance * scale)

    def after_loss(self, run: "Run") -> None:
        """Record the distance."""
        if run.training:
            run.log(self.column, self._distance)

    def after_batch(self, run: "Run") -> None:
        """Let the teacher's outputs go."""
        self._target = self._distance = None

    def measured(self, student: Any, teacher: Any) -> Tensor:
        """How far the outputs of the student are from the teacher's."""
        raise NotImplementedError

    def summed(self, loss: Any, distance: Tensor) -> Any:
        """The loss that is trained."""
        raise NotImplementedError

    def _warn_of_weights(self, run: "Run") -> None:
        shared = run.window.shared or run.window.batches or not run.closes
        if shared and run.weight and run.weight != item_count(run.xb):
            self._warned = True
            warnings.warn(
                f"{type(self).__name__} takes the mean distance over the items of a batch, here "
                f"{item_count(run.xb)}, but batches that share a step count by the Learner's "
                f"weight, here {run.weight:g}: the distance is not that of the one big batch. Give "
                "distance=, a mean over what the weight counts, such as unmasked tokens.",
                stacklevel=2,
            )


def check_alike(student: Any, teacher: Any) -> None:
    """See that outputs can be compared class by class.

    Raises:
        TypeError: they are no tensors of one shape.
    """
    tensors = isinstance(student, Tensor) and isinstance(teacher, Tensor)
    if not tensors or student.shape != teacher.shape or student.ndim < 2:
        raise TypeError(
            "the outputs of student and teacher must be tensors of one shape (batch, classes, …); "
            f"got {describe(student)} and {describe(teacher)}. Give distance=, a function of both, "
            "e.g. lambda s, t: F.mse_loss(s['out'], t['out'])."
        )


def checked_distance(distance: Any) -> Any:
    """The function, if it is one.

    Raises:
        TypeError: it is none.
    """
    if distance is not None and not callable(distance):
        raise TypeError(
            f"distance must be a function (student, teacher) -> number; got {distance!r}. Give "
            "e.g. torch.nn.functional.mse_loss."
        )
    return distance

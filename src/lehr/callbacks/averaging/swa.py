"""Averages the weights of the last part of a fit, all of them alike."""

import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.intervals import every as interval
from lehr.base.running import with_statistics
from lehr.callback import Callback
from lehr.data.loading.once import read_once
from lehr.errors import positive_int, share
from lehr.events import Phase
from lehr.loop.batch_norm import measure, moving, set_statistics, statistics
from lehr.optim.average import Average

if TYPE_CHECKING:
    from torch import Tensor

    from lehr.loop.run import Run


class SWA(Callback):
    r"""Stochastic weight averaging: keeps the mean of the weights at the ends of the last epochs.

    .. math:: \bar w = \frac{1}{n} \sum_{i=1}^n w_i

    The mean is taken for the parameters. Buffers are those of the model, except the statistics of
    BatchNorm and other norms: they are computed anew for the mean of the weights, in one pass over
    the training data, whenever the mean has changed and is to be used. These norms alone are in
    training mode then. Those whose statistics are fixed keep them.

    As soon as there is a mean, the model has it while a validation of the fit runs; and for good
    when the fit ends. A fit that is interrupted leaves the model its own weights, to go on. If no
    weights were added in a fit, a warning says so. Let the learning rate stay high, or rise again
    and again, as long as weights are added; see `lehr.schedules`.

    Args:
        start: a float from 0 to 1: the share of the fit's steps after which weights are added; or
            an int: the number of the first epoch of this fit, from 0, that adds some.
        every: how often, for example ``"1 epoch"`` or ``"100 steps"``: after the last step of every
            such epoch, or after every such step, counted from the start of the fit.
        validates: whether validations have the mean. If not, the pass for BatchNorm is made once,
            when the fit ends, and what is measured is not what is kept.
        batches: how many training batches BatchNorm's statistics are computed from; None takes all.

    Attributes:
        average: the mean by name in ``tensors``, and in ``count`` how many are in it.

    Raises:
        TypeError, ValueError: an argument cannot be used; or, at the start of a fit, no epoch would
            add weights, or the training data cannot be read once more for BatchNorm.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> swa = SWA(start=0.5)
        >>> run = tiny_learner().fit(4, callbacks=[swa])  # after epochs 1, 2 and 3
        >>> swa.average.count, run.model[0].weight.equal(swa.average.tensors["0.weight"])
        (3, True)

    Reference:
        Izmailov et al. 2018, arXiv:1803.05407, algorithm 1.
    """

    phase = Phase.MEASURE
    evaluates = False
    state = ("average", "added_at", "moving", "statistics")

    def __init__(
        self,
        start: float = 0.75,
        *,
        every: str = "1 epoch",
        validates: bool = True,
        batches: int | None = None,
    ) -> None:
        whole = isinstance(start, int)
        self.start = positive_int("start", start, least=0) if whole else share("start", start)
        self.by_length = not whole
        self.every = interval(every)
        self.validates = validates
        self.batches = None if batches is None else positive_int("batches", batches, example=100)

    def begin_fit(self, run: "Run") -> None:
        """Begin without any weights."""
        epochs = run.plan.epochs
        if isinstance(self.start, int) and epochs and self.start >= epochs:
            raise ValueError(
                f"start must be below the number of epochs; got {self.start}, and the fit has "
                f"{epochs}: no weights would be added. Give e.g. start=0.75, a share of the steps."
            )
        self.average = Average(run.model, buffers=False)
        self.added_at = -1
        self.moving: list[str] = []
        self.statistics: dict[str, Tensor] | None = None
        self._has_begun(run)  # an error, if the length of the fit is needed and unknown
        if with_statistics(run.model):
            self._check_data(run)

    def _has_begun(self, run: "Run") -> bool:
        if isinstance(self.start, int):
            return run.epoch >= self.start
        planned = run.planned_steps
        return (run.n_steps / planned if planned else run.pos) >= self.start

    def _check_data(self, run: "Run") -> None:
        """See that the training data can be read once more when the statistics are needed."""
        train, plan = run.plan.train, run.plan
        why = None
        if (once := read_once(train.loader)) is not None:
            why = f"reads {once!r}, which can be read only once. Give one that can be opened anew"
        elif self.batches is None and plan.epochs is None and train.len_or_none is None:
            why = "has no length, and perhaps no end. Give batches=, e.g. SWA(batches=100)"
        elif self.validates and plan.validate_every.unit == "steps" and train.one_reader:
            why = "cannot be read again in the middle of an epoch. Give validates=False"
        if why is not None:
            raise ValueError(
                "SWA reads training data once more, for BatchNorm's statistics, and "
                f"{train.name} {why}."
            )

    def after_step(self, run: "Run") -> None:
        """Add the new weights, if steps are counted."""
        if self.every.unit == "steps" and run.n_steps % self.every.number == 0:
            self._add(run)

    def after_train(self, run: "Run") -> None:
        """Add the weights of the end of an epoch, if epochs are counted."""
        if self.every.unit == "epochs" and (run.epoch + 1) % self.every.number == 0:
            self._add(run)

    def _add(self, run: "Run") -> None:
        if run.n_steps != self.added_at and self._has_begun(run):
            self.average.add(run.model, 1 / (self.average.count + 1))
            self.added_at, self.moving, self.statistics = run.n_steps, moving(run.model), None

    def begin_validate(self, run: "Run") -> None:
        """Let the model have the mean until the validation is over."""
        if self.validates and self.average.count:
            scope = ExitStack()
            run.defer(scope.close)
            scope.enter_context(self._lent(run))

    def after_fit(self, run: "Run") -> None:
        """Leave the mean in the model."""
        if run.interrupted is not None:
            return
        if self.average.count:
            self.average.copy_to(run.model)
            self._give_statistics(run)
        elif run.stop_reason is None:
            warnings.warn(
                f"{self} has added no weights in the {run.n_steps} steps of the fit: the model has "
                "those of its last step. Make every= shorter, or start= earlier.",
                stacklevel=2,
            )

    @interrupts_wait_at_both_ends
    @contextmanager
    def _lent(self, run: "Run") -> Generator[None]:
        own = statistics(run.model, self.moving)
        with self.average.used_by(run.model):
            try:
                self._give_statistics(run)
                yield
            finally:
                set_statistics(run.model, own)

    def _give_statistics(self, run: "Run") -> None:
        if self.statistics is None:
            if self.moving:
                measure(run, self.moving, self.batches)
            self.statistics = statistics(run.model, self.moving)
        else:
            set_statistics(run.model, self.statistics)

    def __repr__(self) -> str:
        return f"SWA({self.start}, every={str(self.every)!r})"

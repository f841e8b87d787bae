"""Averages the weights over the last steps."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from lehr.base.graph_part import GraphPart
from lehr.callback import Callback
from lehr.errors import above_zero, real_number
from lehr.events import Phase
from lehr.optim.average import Average, moved

if TYPE_CHECKING:
    from lehr.loop.run import Run


class EMA(Callback):
    r"""Keeps an exponential moving average of the weights; it is what is validated, and kept.

    With a decay of β, the average of the weights w after step t is

    .. math:: \bar w_t = \frac{1 - β}{1 - β^t} \sum_{i=1}^t β^{t - i} w_i

    so the weights from before the first step have no part in it. Buffers that are real numbers,
    such as the statistics of BatchNorm, are averaged alike; others are those of the model.

    The model has the averaged weights while a validation of the fit runs. It gets them for good
    when the fit ends, and a next fit begins with them. A fit that is interrupted leaves the model
    its own weights, to go on. To use them otherwise, lend them to the
    model: ``with ema.average.used_by(learn.model): learn.validate()``.

    Args:
        decay: β, at least 0 and below 1; 0.999 averages over about the last thousand steps.
        half_life: instead of ``decay``: after so many steps, a step counts half; above 0.
        keep: whether the model has the averaged weights after the fit. If not, they are in
            ``average.tensors`` alone.

    Attributes:
        average: the averages by name in ``tensors``, and in ``count`` how many steps are in them.

    Raises:
        TypeError, ValueError: an argument cannot be used, or both decay and half-life are given.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> ema = EMA(0.9)
        >>> run = tiny_learner().fit(2, callbacks=[ema])
        >>> ema.average.count, run.model[0].weight.equal(ema.average.tensors["0.weight"])
        (8, True)

    Reference:
        Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4), 838-855, for the average of weights.
        The division by :math:`1 - β^t` is Adam's: Kingma and Ba 2015, arXiv:1412.6980, section 3.
    """

    phase = Phase.MEASURE
    evaluates = False
    state = ("average",)
    by_length = False
    in_graph = ("after_step",)

    def __init__(
        self, decay: float | None = None, *, half_life: float | None = None, keep: bool = True
    ) -> None:
        if decay is not None and half_life is not None:
            raise ValueError(
                f"EMA takes decay or half_life; got decay={decay} and half_life={half_life}. Leave "
                "one out."
            )
        if half_life is not None:
            decay = 0.5 ** (1 / above_zero("half_life", half_life))
        self.decay = real_number("decay", 0.999 if decay is None else decay)
        if not 0 <= self.decay < 1:
            raise ValueError(
                f"decay must be at least 0 and below 1; got {self.decay}. Use e.g. decay=0.999."
            )
        self.keep = keep

    def begin_fit(self, run: "Run") -> None:
        """Begin with the weights as they are."""
        self.average = Average(run.model)

    def after_step(self, run: "Run") -> None:
        """Add the new weights."""
        self.average.add(run.model, self._share())

    def graph_part(self, method: str, run: "Run") -> GraphPart:
        """The same, for the graph of a fused step."""
        average = self.average
        return GraphPart(moved, average.tensors, {"share": self._share()}, done=average.count_one)

    def _share(self) -> float:
        """How far the average goes towards the weights in the next step."""
        return (1 - self.decay) / (1 - self.decay ** (self.average.count + 1))

    def begin_validate(self, run: "Run") -> None:
        """Let the model have the average until the validation is over."""
        scope = ExitStack()
        run.defer(scope.close)
        scope.enter_context(self.average.used_by(run.model))

    def after_fit(self, run: "Run") -> None:
        """Leave the average in the model."""
        if self.keep and run.interrupted is None:
            self.average.copy_to(run.model)

    def __repr__(self) -> str:
        return f"EMA({self.decay}{'' if self.keep else ', keep=False'})"

"""Steps back towards slowly moving weights."""

from typing import TYPE_CHECKING

from lehr.callback import Callback
from lehr.errors import positive_int, share
from lehr.events import Phase
from lehr.optim.average import Average

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Lookahead(Callback):
    """Every ``k`` steps, moves slow weights towards those of the optimizer, and goes on from them.

    The slow weights begin as the model's. Buffers are left alone, and so is the optimizer's state.
    After the last step that is planned they are moved once more, before anything is validated. A
    fit that ends earlier, or is interrupted, leaves the model the weights of its last step.

    Args:
        k: steps of the optimizer between two moves; at least 1.
        alpha: how far the slow weights move, as a share of the way; from 0 to 1. With 1 nothing is
            changed.

    Raises:
        TypeError, ValueError: an argument cannot be used.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> plain, slow = tiny_learner(), tiny_learner([Lookahead(k=2)])
        >>> plain.fit(1).model[0].weight.equal(slow.fit(1).model[0].weight)
        False

    Reference:
        Zhang et al. 2019, arXiv:1907.08610, algorithm 1.
    """

    phase = Phase.MEASURE
    state = ("slow", "moved_at")
    by_length = True

    def __init__(self, k: int = 5, *, alpha: float = 0.5) -> None:
        self.k = positive_int("k", k, example=5)
        self.alpha = share("alpha", alpha)

    def begin_fit(self, run: "Run") -> None:
        """Begin with the weights as they are."""
        self.slow, self.moved_at = Average(run.model, buffers=False), 0

    def after_step(self, run: "Run") -> None:
        """Move the slow weights when it is time."""
        if run.n_steps % self.k == 0 or run.n_steps == run.steps or _is_last_batch(run):
            self._move(run)

    def after_train(self, run: "Run") -> None:
        """Move them a last time, if the last batch has made no step."""
        if run.epoch + 1 == run.epochs:
            self._move(run)

    def _move(self, run: "Run") -> None:
        if run.n_steps != self.moved_at:
            self.slow.add(run.model, self.alpha)
            self.slow.copy_to(run.model)
            self.moved_at = run.n_steps

    def __repr__(self) -> str:
        return f"Lookahead({self.k}, alpha={self.alpha})"


def _is_last_batch(run: "Run") -> bool:
    return run.last_batch and run.epoch + 1 == run.epochs

"""Measures where the time of a fit goes."""

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.events import Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run

PARTS = ("data", "forward", "backward", "update", "validation", "rest")


class Timer(Callback):
    """Measures the seconds that each part of a fit takes; they sum to the whole.

    It looks at the clock four times a batch. Nothing waits for a device: on an accelerator, these
    are the seconds of the program that hands it work, and they gather where it waits.
    `Learner.profile` shows more, and measures devices.

    Attributes:
        seconds: by part. ``data``: waiting for training batches, and what is done to them before
            the prediction, such as bringing them to a device. ``forward``: predictions and losses.
            ``backward``: gradients. ``update``: the rest of a training batch, with the step of the
            optimizer. ``validation``. ``rest``: all else, such as saving checkpoints. A step that
            is one graph (``compile`` of `lehr.Learner`) is in ``forward`` as a whole. Each fit
            counts from zero, also one that is resumed.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> timer = Timer()
        >>> run = tiny_learner().fit(1, callbacks=[timer])
        >>> list(timer.seconds)
        ['data', 'forward', 'backward', 'update', 'validation', 'rest']
        >>> abs(sum(timer.shares().values()) - 1) < 1e-9
        True
    """

    phase = Phase.REPORT
    replays = False
    by_length = False
    looks_on = True
    state = ()

    @contextmanager
    def around_fit(self, run: "Run") -> Generator[None]:
        """Start the clock, and stop it when everybody else is done."""
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._mark = perf_counter()
        try:
            yield
        finally:
            self._rest()

    def begin_train(self, run: "Run") -> None:
        """The rest ends; what others do between batches, such as saving, belongs to it, too."""
        self._rest()
        if run.rests.visitors and self._after_a_rest not in run.rests.visitors:
            run.rests.visitors.insert(0, self._before_a_rest)
            run.rests.visitors.append(self._after_a_rest)

    def begin_batch(self, run: "Run") -> None:
        """There is a batch."""
        if run.training:
            self._lap("data")

    def after_loss(self, run: "Run") -> None:
        """The forward pass is over."""
        if run.training:
            self._lap("forward")

    def after_backward(self, run: "Run") -> None:
        """The backward pass is over."""
        self._lap("backward")

    def after_batch(self, run: "Run") -> None:
        """The batch is over."""
        if run.training:
            self._lap("update")

    def begin_validate(self, run: "Run") -> None:
        """The rest ends."""
        self._rest()

    def after_validate(self, run: "Run") -> None:
        """The validation is over."""
        self._lap("validation")

    def _before_a_rest(self, run: Any, rest: Any) -> None:
        self._lap("data" if rest.stage == "batch" else "rest")

    def _after_a_rest(self, run: Any, rest: Any) -> None:
        self._rest()

    def _rest(self) -> None:
        self._lap("rest")

    def _lap(self, part: str) -> None:
        now = perf_counter()
        self.seconds[part] += now - self._mark
        self._mark = now

    def shares(self) -> dict[str, float]:
        """The share of each part in the whole.

        Raises:
            RuntimeError: there was no fit yet.
        """
        if not hasattr(self, "seconds"):
            raise RuntimeError("the timer has measured nothing yet. Give it to a fit first.")
        whole = sum(self.seconds.values()) or 1.0
        return {part: seconds / whole for part, seconds in self.seconds.items()}

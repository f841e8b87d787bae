"""Rests: the places in the loop where all of a run's state is in its entries.

To enter a run at a rest, the loop calls the begin events that lead to it, loads the state that was
captured there, and goes on. Resuming after a stop works like this, and so does going back in time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from lehr.types import Stage


class Rest(NamedTuple):
    """A place where a run can be entered.

    Example:
        >>> Rest("batch", 2)
        Rest(stage='batch', epoch=2)
    """

    stage: Stage
    """``"epoch"``: before that epoch; ``"batch"``: after a training batch; ``"validated"``: after
    the validation that followed one; ``"trained"``: after the training pass"""
    epoch: int
    """number of the epoch"""


class Kept(NamedTuple):
    """An earlier state of the run."""

    step: int
    """optimizer steps done there"""
    stage: Stage
    """as in `Rest`"""
    epoch: int
    """as in `Rest`"""
    snapshot: Mapping[str, Any]
    """what `lehr.state.snapshot.capture` returned there"""
    onlookers: Sequence[str]
    """the entries in it of callbacks that only looked on"""


class Entry(NamedTuple):
    """Where a run is to be entered, and what brings its state there."""

    stage: Stage
    """as in `Rest`"""
    epoch: int
    """as in `Rest`"""
    load: Callable[[Any], None]
    """called with the run, after the begin events"""


Visitor = Callable[[Any, Rest], None]
"""called with the run and the place where it rests"""


class GoBack(BaseException):
    """The run must be entered again. No ``Exception``, so that user code does not catch it."""


class Rests:
    """The functions to call where a run rests, and the place where it is to be entered.

    Example:
        >>> rests, seen = Rests(), []
        >>> rests.visitors.append(lambda run, rest: seen.append(rest.stage))
        >>> rests.visit(None, "epoch", 0); seen
        ['epoch']
    """

    __slots__ = ("entry", "visitors")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.visitors: list[Visitor] = []

    def visit(self, run: Any, stage: Stage, epoch: int) -> None:
        """Call every visitor: the run rests here."""
        if self.visitors:
            rest = Rest(stage, epoch)
            for visit in tuple(self.visitors):
                visit(run, rest)

    def arrive(self, run: Any, *stages: Stage) -> Stage | None:
        """Load the state to go on from, if it was captured at one of these stages.

        Returns:
            The stage at which it was captured; None if nothing is to be loaded here.
        """
        entry = self.entry
        if entry is None or entry.stage not in stages:
            return None
        entry.load(run)
        self.entry = None
        return entry.stage

    def require_loaded(self) -> None:
        """Check that no cancel came before the state to go on from was loaded."""
        if self.entry is not None:
            raise RuntimeError(
                f"epoch {self.entry.epoch} was left before the state to go on from was loaded: a "
                "callback raised a cancel in begin_fit, begin_epoch or begin_train, with what it "
                "knew at the start of a fit. Resume without it, or let it decide in begin_batch."
            )

    def go_back(self, run: Any, entry: Entry) -> NoReturn:
        """See `lehr.loop.run.Run.go_back`."""
        left, rewinds = run.n_steps, run.rewinds

        def load(run: Any) -> None:
            entry.load(run)
            run.rewinds = [*rewinds, (left, run.n_steps)]
            run.history.meta["rewinds"] = [list(pair) for pair in run.rewinds]

        self.entry = entry._replace(load=load)
        raise GoBack

"""Rests: the places in the loop where all of a run's state is in its entries.

A run that is entered at a rest hears the begin events down to it, loads the state that was captured
there, and goes on: resuming after a stop and going back in time are both that.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Stage = Literal["epoch", "batch", "validated", "trained"]


class Rest(NamedTuple):
    """A place to be entered at.

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
    """A state of the past."""

    step: int
    """optimizer steps done there"""
    stage: Stage
    """as in `Rest`"""
    epoch: int
    """as in `Rest`"""
    snapshot: Mapping[str, Any]
    """what `lehr.state.capture` returned there"""
    onlookers: Sequence[str]
    """the entries in it of callbacks that only looked on"""


class Entry(NamedTuple):
    """Where a run is to be entered, and what brings its state there."""

    stage: Stage
    """as in `Rest`"""
    epoch: int
    """as in `Rest`"""
    load: Callable[[Any], None]
    """called with the run once the begin events were heard"""


Visitor = Callable[[Any, Rest], None]


class GoBack(BaseException):
    """The run is to be entered once more. No error: nobody's ``except Exception`` takes it."""

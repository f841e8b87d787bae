"""Notices a loss that is nan or infinite before it reaches the weights."""

from functools import partial
from typing import TYPE_CHECKING, Literal

from lehr.callback import Callback
from lehr.callbacks.decide.non_finite import origin, origin_of_past
from lehr.errors import positive_int
from lehr.events import CancelFit, Phase
from lehr.loop.past import Failure, note_failure
from lehr.record.unread import Place, UnreadLosses, first_non_finite

if TYPE_CHECKING:
    from lehr.loop.run import Run


class StopOnNonFinite(Callback):
    """Ends the fit when the training loss is nan or infinite, before backward: the weights stay.

    Reading the loss waits for an accelerator. With ``every=n`` it is read every n batches and at
    the end of each training pass; the message still tells the first bad batch, but the weights may
    have been spoilt since then. A batch without weight counts for nothing and is not looked at.

    The batch then passes through the model once more, and the message names the first layer whose
    output is not finite, and for which items. Where the loss was read late, that takes a state from
    before, which a `Checkpoint` or a `Rewind` of the same fit keeps.

    Args:
        every: after how many batches the losses are read; at least 1.
        action: ``"raise"`` ends the fit with an error, which leaves the batch in ``learn.run``;
            ``"stop"`` ends it by a cancel, with the same words as ``run.stop_reason``.

    Raises:
        TypeError, ValueError: ``every`` is no whole number of at least 1, or ``action`` is neither
            of the two.
        FloatingPointError: in the fit, with ``action="raise"``.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner(loss_func=lambda pred, yb: pred.sum() / 0)
        >>> print(learn.fit(1, callbacks=[StopOnNonFinite(action="stop")]).stop_reason)
        loss is ... at step 0 (epoch 0, batch 0). The prediction is finite, the loss of it is not in
        any item. Lower lr, or clip the gradients; run.history holds the last good steps.
    """

    phase = Phase.DECIDE
    replays = False
    state = ("unread",)

    def __init__(self, *, every: int = 1, action: Literal["raise", "stop"] = "raise") -> None:
        self.every = positive_int("every", every, example=1)
        self.looks_on = self.every > 1
        if action not in ("raise", "stop"):
            raise ValueError(f'action must be "raise" or "stop"; got {action!r}. Choose one.')
        self.action = action

    def begin_fit(self, run: "Run") -> None:
        """Have nothing to read yet."""
        self.unread = UnreadLosses(run.engine)
        run.history.before_kept.append(self.unread.merge)
        run.defer(partial(run.history.before_kept.remove, self.unread.merge))

    def after_loss(self, run: "Run") -> None:
        """Keep the loss, and read what was kept when it is time."""
        if self.unread.add_of(run) and len(self.unread) >= self.every:
            self._check(run)

    def after_train(self, run: "Run") -> None:
        """Read the rest."""
        self._check(run)

    def after_fit(self, run: "Run") -> None:
        """Read the rest of a pass that was cut short, unless the fit was ended for a bad loss."""
        self._check(run, over=True)

    def _check(self, run: "Run", *, over: bool = False) -> None:
        losses = self.unread.read()
        bad = first_non_finite(losses)
        if bad is None:
            return
        place, value = losses[bad]
        later = len(losses) - 1 - bad
        came_from = origin_of_past(run, place) if later or self.looks_on else ""
        if not came_from and run.in_batch and not later:
            came_from = origin(run)
        note_failure(run, Failure(*place))
        reason = _message(place, value, came_from, later=later)
        if self.action == "raise":
            raise FloatingPointError(reason)
        run.stop(reason)
        if not over:
            raise CancelFit(reason)

    def __repr__(self) -> str:
        return f"StopOnNonFinite(every={self.every}, action={self.action!r})"


def _message(place: Place, value: float, came_from: str, *, later: int) -> str:
    delay = f", found {later} batch{'es' * (later > 1)} later" if later else ""
    history = "the weights may be spoilt" if later else "run.history holds the last good steps"
    sentences = [
        f"loss {'was' if later else 'is'} {value} at {place}{delay}.",
        came_from,
        f"Lower lr, or clip the gradients; {history}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)

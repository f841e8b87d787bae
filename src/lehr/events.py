"""The names that the loop uses: its events, actions, phases, layers and cancels.

A member's name is the name of the callback method; its value says what is true at that moment.
Dispatch, the error messages for misspelt methods, the documentation and the tests are all
made from this file.
"""

from enum import Enum, IntEnum


class Event(Enum):
    """A named moment that any number of callbacks may watch: ``def name(self, run)``."""

    begin_fit = "the fit is about to start: model, data and optimizer are known, nothing has moved"
    begin_epoch = "`run.epoch` is this epoch"
    begin_train = "the model is in training mode, the training loader has not been touched"
    begin_batch = "`run.batch`, `run.xb` and `run.yb` are this batch; in training and validation"
    after_pred = "`run.pred` is what the model made of `run.xb`"
    after_loss = "`run.loss` is the loss as the user knows it, `run.weight` the items it stands for"
    after_backward = "gradients hold this batch's share; in training only, as all that follows"
    after_step = "the optimizer really stepped; `run.n_steps` counts this step"
    after_batch = "the batch is over; `run.n_iter` counts it if it was a training batch"
    after_train = "the training pass has seen all its batches"
    begin_validate = "the model is in evaluation mode and no gradients are kept"
    after_validate = "the validation pass has seen all its batches"
    after_epoch = "the epoch is over"
    after_fit = "the fit is over, by itself, by a cancel or by a stop; not after an error"


class Action(Enum):
    """What the loop does; callbacks may wrap or replace it: ``def name(self, run, proceed)``."""

    one_batch = "everything between `begin_batch` and `after_batch`, both passes"
    predict = "sets `run.pred` from `run.xb`"
    compute_loss = "sets `run.loss` from `run.pred` and `run.yb`"
    backward = "adds the gradient of `run.loss` to the parameters"
    finish_grad = (
        "makes the gradient ready: it is already the window's mean; unscale, transform, clip"
    )
    step = "moves the parameters and sets `run.stepped`"
    zero_grad = "clears the gradients"


class Phase(IntEnum):
    """The order in which callbacks watch an event; within a phase `lehr.loop.order` decides."""

    PREPARE = 1
    """device, batch transforms, schedules"""
    MEASURE = 2
    """recorder, metrics, statistics; a user's default"""
    DECIDE = 3
    """stopping, checkpoints"""
    REPORT = 4
    """progress, loggers"""


class Layer(IntEnum):
    """The order in which callbacks wrap an action, outermost first."""

    CAPTURE = 1
    """the whole step as one captured or compiled unit"""
    WINDOW = 2
    """when the optimizer steps: accumulation, distributed averaging"""
    SEARCH = 3
    """optimizers that look before they step: SAM, closures"""
    PRECISION = 4
    """autocast, loss scaling, skipping an overflow"""
    TRANSFORM = 5
    """anything done to predictions, loss or gradients; a user's default"""
    CLIP = 6
    """the last word on the gradient"""


class Cancel(Exception):  # noqa: N818 — a request, not an error
    """Base of the three cancels; raise one of those, with a reason.

    A cancel that is raised in an event takes effect when all callbacks were called for that event;
    of several, the widest counts. A cancel that is raised in an action takes effect at once.
    """

    width = 0

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class CancelBatch(Cancel):
    """End this batch now: the rest of it is skipped, `after_batch` follows."""

    width = 1


class CancelEpoch(Cancel):
    """End this epoch now: `after_epoch` follows, then the next epoch."""

    width = 2


class CancelFit(Cancel):
    """End the fit now: only `after_fit` follows."""

    width = 3


EVENTS = tuple(event.name for event in Event)
ACTIONS = tuple(action.name for action in Action)

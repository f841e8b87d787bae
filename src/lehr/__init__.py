"""lehr: one readable training loop for PyTorch.

A callback can watch, change, wrap or replace every line of the loop. An event that no callback
watches costs nothing. Every number can follow a schedule.
"""

from lehr import callbacks, data, events, init, models, optim, schedules
from lehr.callback import Callback
from lehr.data import DataBunch
from lehr.events import CancelBatch, CancelEpoch, CancelFit, Layer, Phase
from lehr.inspect.audit import audit
from lehr.learner import Learner
from lehr.loop.run import Run
from lehr.record.metrics import accuracy
from lehr.record.selected import on
from lehr.record.whole_set import whole
from lehr.state.streams import seed
from lehr.transfer import fine_tune

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "CancelBatch",
    "CancelEpoch",
    "CancelFit",
    "DataBunch",
    "Layer",
    "Learner",
    "Phase",
    "Run",
    "accuracy",
    "audit",
    "callbacks",
    "data",
    "events",
    "fine_tune",
    "init",
    "models",
    "on",
    "optim",
    "schedules",
    "seed",
    "whole",
]

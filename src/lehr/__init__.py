"""lehr: one readable training loop for PyTorch.

Every line of the loop can be watched, changed, wrapped or replaced by a callback; silence is free;
and everything that is a number can be annealed.
"""

from lehr import callbacks, data, events, init, models, schedules
from lehr.callback import Callback
from lehr.data import DataBunch
from lehr.events import CancelBatch, CancelEpoch, CancelFit, Layer, Phase
from lehr.inspect.audit import audit
from lehr.learner import Learner
from lehr.loop.run import Run
from lehr.record.metrics import accuracy
from lehr.state.streams import seed

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
    "init",
    "models",
    "schedules",
    "seed",
]

"""The callbacks that come with lehr, one class a file."""

from lehr.callbacks.metrics import Metrics
from lehr.callbacks.param_scheduler import ParamScheduler
from lehr.callbacks.progress import Progress
from lehr.callbacks.recorder import Recorder

__all__ = ["Metrics", "ParamScheduler", "Progress", "Recorder"]

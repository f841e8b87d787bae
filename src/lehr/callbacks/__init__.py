"""The callbacks that come with lehr, one class a file."""

from lehr.callbacks.checkpoint import Checkpoint
from lehr.callbacks.csv_log import CSVLog
from lehr.callbacks.device import Device
from lehr.callbacks.early_stopping import EarlyStopping
from lehr.callbacks.jsonl_log import JSONLLog
from lehr.callbacks.metrics import Metrics
from lehr.callbacks.param_scheduler import ParamScheduler
from lehr.callbacks.progress import Progress
from lehr.callbacks.recorder import Recorder
from lehr.callbacks.reduce_on_plateau import ReduceOnPlateau
from lehr.callbacks.stop_on_non_finite import StopOnNonFinite

__all__ = [
    "CSVLog",
    "Checkpoint",
    "Device",
    "EarlyStopping",
    "JSONLLog",
    "Metrics",
    "ParamScheduler",
    "Progress",
    "Recorder",
    "ReduceOnPlateau",
    "StopOnNonFinite",
]

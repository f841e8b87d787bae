"""The callbacks that come with lehr, one class a file."""

from lehr.callbacks.data.device import Device
from lehr.callbacks.decide.checkpoint import Checkpoint
from lehr.callbacks.decide.early_stopping import EarlyStopping
from lehr.callbacks.decide.rewind import Rewind
from lehr.callbacks.decide.stop_on_non_finite import StopOnNonFinite
from lehr.callbacks.drive.param_scheduler import ParamScheduler
from lehr.callbacks.drive.reduce_on_plateau import ReduceOnPlateau
from lehr.callbacks.log.csv_log import CSVLog
from lehr.callbacks.log.jsonl_log import JSONLLog
from lehr.callbacks.log.progress import Progress
from lehr.callbacks.measure.metrics import Metrics
from lehr.callbacks.measure.recorder import Recorder

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
    "Rewind",
    "StopOnNonFinite",
]

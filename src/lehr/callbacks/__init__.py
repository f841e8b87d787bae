"""The callbacks that come with lehr, one class a file."""

from typing import Any

from lehr.callbacks.augmenting.batch_transform import BatchTransform
from lehr.callbacks.augmenting.progressive_resizing import ProgressiveResizing
from lehr.callbacks.augmenting.random_erasing import RandomErasing
from lehr.callbacks.augmenting.stochastic_depth import StochasticDepth
from lehr.callbacks.averaging.ema import EMA
from lehr.callbacks.averaging.lookahead import Lookahead
from lehr.callbacks.averaging.optimizer_modes import OptimizerModes
from lehr.callbacks.averaging.swa import SWA
from lehr.callbacks.data.device import Device
from lehr.callbacks.decide.checkpoint import Checkpoint
from lehr.callbacks.decide.early_stopping import EarlyStopping
from lehr.callbacks.decide.optuna_pruning import OptunaPruning
from lehr.callbacks.decide.rewind import Rewind
from lehr.callbacks.decide.stop_on_non_finite import StopOnNonFinite
from lehr.callbacks.drive.param_scheduler import ParamScheduler
from lehr.callbacks.drive.reduce_on_plateau import ReduceOnPlateau
from lehr.callbacks.drive.torch_scheduler import TorchScheduler
from lehr.callbacks.gradient.accumulate import Accumulate
from lehr.callbacks.gradient.clip_gradients import ClipGradients
from lehr.callbacks.gradient.closure import Closure
from lehr.callbacks.log.csv_log import CSVLog
from lehr.callbacks.log.jsonl_log import JSONLLog
from lehr.callbacks.log.mlflow_log import MLflowLog
from lehr.callbacks.log.progress import Progress
from lehr.callbacks.log.tensorboard_log import TensorBoardLog
from lehr.callbacks.log.wandb_log import WandbLog
from lehr.callbacks.loops.distillation import Distillation
from lehr.callbacks.loops.ema_teacher import EMATeacher
from lehr.callbacks.loops.gan import GAN
from lehr.callbacks.loops.gradient_checkpointing import GradientCheckpointing
from lehr.callbacks.loops.loss_weights import LossWeights
from lehr.callbacks.loops.micro_batches import MicroBatches
from lehr.callbacks.loops.sam import SAM
from lehr.callbacks.loops.truncated_bptt import TruncatedBPTT
from lehr.callbacks.measure.activation_stats import ActivationStats
from lehr.callbacks.measure.gradient_stats import GradientStats
from lehr.callbacks.measure.hooks import Hooks
from lehr.callbacks.measure.metrics import Metrics
from lehr.callbacks.measure.recorder import Recorder
from lehr.callbacks.measure.rehearsal import Rehearsal
from lehr.callbacks.measure.timer import Timer
from lehr.callbacks.mixing.cut_mix import CutMix
from lehr.callbacks.mixing.label_smoothing import LabelSmoothing
from lehr.callbacks.mixing.mix_up import MixUp
from lehr.callbacks.precision.mixed_precision import MixedPrecision
from lehr.callbacks.transfer.freeze import Freeze

__all__ = [
    "EMA",
    "GAN",
    "SAM",
    "SWA",
    "Accumulate",
    "ActivationStats",
    "BatchTransform",
    "CSVLog",
    "Checkpoint",
    "ClipGradients",
    "Closure",
    "CutMix",
    "Device",
    "Distillation",
    "EMATeacher",
    "EarlyStopping",
    "Freeze",
    "GradientCheckpointing",
    "GradientStats",
    "Hooks",
    "JSONLLog",
    "LabelSmoothing",
    "Lookahead",
    "LossWeights",
    "MLflowLog",
    "Metrics",
    "MicroBatches",
    "MixUp",
    "MixedPrecision",
    "OptimizerModes",
    "OptunaPruning",
    "ParamScheduler",
    "Progress",
    "ProgressiveResizing",
    "RandomErasing",
    "Recorder",
    "ReduceOnPlateau",
    "Rehearsal",
    "Rewind",
    "StochasticDepth",
    "StopOnNonFinite",
    "TensorBoardLog",
    "Timer",
    "TorchScheduler",
    "TruncatedBPTT",
    "WandbLog",
]


def __getattr__(name: str) -> Any:
    from lehr.base.elsewhere import OF_THE_CALLBACKS, missing_in

    raise missing_in("lehr.callbacks", name, OF_THE_CALLBACKS, __all__)

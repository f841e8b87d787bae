"""The lesson from the ground up, one rung a file; each stands on those below it and on torch.

losses ▸ registry ▸ module ▸ optimizer ▸ collation ▸ data ▸ mnist ▸ fit ▸ answers ▸ handler ▸
callback ▸ runner ▸ schedules ▸ anneal

All names can be imported from here. Three of them mean something else on several rungs: here `fit`
is the loop of rung fit, `Callback` and `TestCallback` are the Runner's. The handler's own are in
`lehr.foundations.handler`.
"""

from lehr.foundations.anneal import ParamScheduler, Recorder
from lehr.foundations.callback import (
    AvgStats,
    AvgStatsCallback,
    Callback,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    TrainEvalCallback,
    camel2snake,
    listify,
)
from lehr.foundations.collation import collate
from lehr.foundations.data import DataLoader, Dataset, Sampler, SliceLoader, get_dls
from lehr.foundations.fit import DataBunch, Learner, fit, get_model, train_batch, validate
from lehr.foundations.handler import CallbackHandler, all_batches, one_batch
from lehr.foundations.losses import (
    accuracy,
    binary_cross_entropy,
    cross_entropy,
    log_softmax,
    log_softmax_naive,
    log_softmax_sum,
    logsumexp,
    nll,
    nll_of_probs,
    softmax,
)
from lehr.foundations.mnist import get_data, read_idx
from lehr.foundations.module import (
    DummyModule,
    Linear,
    Module,
    ModuleList,
    ReLU,
    Sequential,
    SequentialModel,
)
from lehr.foundations.optimizer import Optimizer
from lehr.foundations.registry import Parameter, Registry
from lehr.foundations.runner import EVENTS, Runner, TestCallback
from lehr.foundations.schedules import (
    Curve,
    Schedule,
    annealer,
    combine_scheds,
    cos_1cycle_anneal,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
)

__all__ = ["EVENTS", "AvgStats", "AvgStatsCallback", "Callback", "CallbackHandler", "CancelBatch"]
__all__ += ["CancelEpoch", "CancelFit", "Curve", "DataBunch", "DataLoader", "Dataset"]
__all__ += ["DummyModule", "Learner", "Linear", "Module", "ModuleList", "Optimizer"]
__all__ += ["ParamScheduler", "Parameter", "ReLU", "Recorder", "Registry", "Runner", "Sampler"]
__all__ += ["Schedule", "Sequential", "SequentialModel", "SliceLoader", "TestCallback"]
__all__ += ["TrainEvalCallback", "accuracy", "all_batches", "annealer", "binary_cross_entropy"]
__all__ += ["camel2snake", "collate", "combine_scheds", "cos_1cycle_anneal", "cross_entropy", "fit"]
__all__ += ["get_data", "get_dls", "get_model", "listify", "log_softmax", "log_softmax_naive"]
__all__ += ["log_softmax_sum", "logsumexp", "nll", "nll_of_probs", "one_batch", "read_idx"]
__all__ += ["sched_cos", "sched_exp", "sched_lin", "sched_no", "softmax", "train_batch", "validate"]

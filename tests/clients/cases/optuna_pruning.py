"""A trial of Optuna, which ends trainings that promise little."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner

from . import _numbers

PACKAGES = ["optuna"]
ITEMS = _numbers.ITEMS
FIT = {"epochs": 4}


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


class Prune(Callback):
    """Reports each epoch to the trial, and stops the training that should be pruned."""

    state = ()
    replays = False

    def __init__(self, trial):
        self.trial = trial

    def after_epoch(self, run):
        self.trial.report(run.history["valid_loss"][-1], run.epoch)
        if self.trial.should_prune():
            run.stop("pruned")


def trial():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0, n_warmup_steps=1))
    return study.ask()


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, [Prune(trial())], progress=False)


def check(learn, run):
    assert run.stop_reason == "pruned"
    assert len(run.history["valid_loss"]) == 2


def plain(net):
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))

"""Metrics of scikit-learn, which need the whole validation set at once."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner, on, whole

from . import _numbers

PACKAGES = ["sklearn"]
ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    from sklearn.metrics import average_precision_score, roc_auc_score

    metrics = {
        "auc": on(whole(roc_auc_score), lambda out: out[:, 1]),
        "precision": on(whole(average_precision_score), lambda out: out[:, 1]),
    }
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, metrics=metrics, progress=False)


def check(learn, run):
    from sklearn.metrics import roc_auc_score

    pred, target = learn.predict(_numbers.VALID, targets=True)
    assert learn.validate()["auc"] == roc_auc_score(target, pred[:, 1])


def plain(net):
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))

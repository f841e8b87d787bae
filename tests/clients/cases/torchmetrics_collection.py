"""A `MetricCollection` of torchmetrics, and a metric for each class."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

PACKAGES = ["torchmetrics"]
ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    metrics = {
        "all": MetricCollection([MulticlassAccuracy(2), MulticlassF1Score(2)]),
        "each": MulticlassAccuracy(2, average=None),
    }
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, metrics=metrics, progress=False)


def check(learn, run):
    assert {"each_0", "each_1"} <= learn.validate().keys()


def plain(net):
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))

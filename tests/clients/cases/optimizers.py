"""Every optimizer of `torch.optim`."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS
VARIANTS = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam",
    "RAdam", "RMSprop", "Rprop", "SGD",
]  # fmt: skip


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False))


def optimizer(net, name):
    return getattr(torch.optim, name)(net.parameters(), lr=0.01)


def learner(net, name):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    return Learner(net, optimizer(net, name), F.cross_entropy, bunch, progress=False)


def plain(net, name):
    _numbers.hand_written(net, optimizer(net, name))

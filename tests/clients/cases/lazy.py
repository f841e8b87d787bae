"""Lazy layers, which get their shape from the first batch; the optimizer is made afterwards."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))


def learner(net):
    net(_numbers.TRAIN[0][0])
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    net(_numbers.TRAIN[0][0])
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))
